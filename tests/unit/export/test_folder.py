"""Exported folders say, in plain transformers and peft, what the study's models say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from exported_models import TEMPLATE, arm, said, scored
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from keeptune.cli.main import app
from keeptune.core.errors import ConfigError, DataError, ModelError, RunFolderError
from keeptune.core.records import read_json
from keeptune.export import folder as exported
from keeptune.export.check import distance
from keeptune.export.chosen import choose
from keeptune.export.records import ExportRecord


@pytest.mark.parametrize(
    ("dtype", "stored"), [("fp32", torch.float32), ("bf16", torch.bfloat16), (None, torch.float32)]
)
def test_a_merged_adapter_is_a_plain_model(run: Path, tmp_path: Path, dtype: str | None, stored: torch.dtype) -> None:
    chosen = arm(run, "lora")
    record = exported.export(chosen, tmp_path / "out", merge=True, dtype=dtype)  # type: ignore[arg-type]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == stored
    apart = distance(scored(chosen), said(model, chosen))
    assert apart.kl == pytest.approx(record.kl, rel=1e-3, abs=1e-9) and apart.kl <= exported.BOUNDS[stored]
    assert record.merged and read_json(tmp_path / "out" / exported.RECORD, ExportRecord) == record
    base = AutoModelForCausalLM.from_pretrained(chosen.base)
    assert distance(said(base, chosen), said(model, chosen)).kl > 10 * record.kl  # training did something


def test_an_adapter_stays_one(run: Path, tmp_path: Path) -> None:
    chosen = arm(run, "lora")
    record = exported.export(chosen, tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(chosen.base)
    model = PeftModel.from_pretrained(base, tmp_path / "out")
    assert distance(scored(chosen), said(model, chosen)).largest == 0
    assert not record.merged and not (tmp_path / "out" / "model.safetensors").exists()


def test_a_whole_model_is_cast_once(run: Path, tmp_path: Path) -> None:
    chosen = arm(run, "full")
    exported.export(chosen, tmp_path / "out", dtype="bf16")
    tuned = AutoModelForCausalLM.from_pretrained(chosen.weights, dtype=torch.float32).state_dict()
    cast = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").state_dict()
    assert all(torch.equal(cast[name], tuned[name].bfloat16()) for name in tuned)


def test_template_and_generation_settings_come_along(run: Path, tmp_path: Path) -> None:
    exported.export(arm(run, "lora"), tmp_path / "out", merge=True)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == TEMPLATE
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["top_k"] == 7


def test_what_says_other_things_is_refused_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "_merged", lambda model, chosen: model.unload())  # forgets the adapter
    with pytest.raises(ModelError, match="nats per token away from the study's, more than 1e-06"):
        exported.export(arm(run, "lora"), tmp_path / "out", merge=True)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_refused_before_a_model_is_loaded(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an adapter is stored as it is"):
        exported.export(arm(run, "lora"), tmp_path / "out", dtype="bf16")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunFolderError, match="is there and not empty"):
        exported.export(arm(run, "lora"), tmp_path)
    with pytest.raises(ConfigError, match="no trained arm 'ful'.*its trained arms: "):
        choose(run, "ful")


def test_distance_is_zero_for_itself_and_grows(run: Path) -> None:
    a = torch.randn(5, 7).log_softmax(-1)
    assert distance([a], [a]).kl == 0 and distance([a], [a]).agreement == 1
    nearer, farther = ((a + s * torch.randn(5, 7, generator=torch.manual_seed(0))).log_softmax(-1) for s in (0.1, 1.0))
    assert 0 < distance([a], [nearer]).kl < distance([a], [farther]).kl
    by_hand = float((a.exp() * (a - farther)).sum(-1).mean())
    assert distance([a], [farther]).kl == pytest.approx(by_hand, rel=1e-5)


def test_the_command(run: Path, tmp_path: Path) -> None:
    options = ["--arm", arm(run, "lora").arm.name, "--out", str(tmp_path / "out"), "--merge", "--dtype", "bf16"]
    ended = CliRunner().invoke(app, ["export", str(run), *options])
    assert ended.exception is None, ended.exception
    assert re.search(r"out: .*merged; on 16 prompts \S+ nats per token.*refused above 0\.01", ended.output)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.bfloat16
    ended = CliRunner().invoke(app, ["export", str(tmp_path)])
    assert isinstance(ended.exception, DataError)
