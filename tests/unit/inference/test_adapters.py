"""Several adapters on one base: mixed requests are answered as by each alone; merging leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from keeptune.batching.trie import ScoringRequest
from keeptune.core.errors import ConfigError, ModelError
from keeptune.data.examples import Encoded
from keeptune.inference.adapters import AdapterSet
from keeptune.inference.generate import generate
from keeptune.inference.score import choice_logprobs, row_nats
from keeptune.models.language_model import hash_parameters
from keeptune.models.load import load

Rows = Callable[..., list[Encoded]]
CONFIGS: dict[str, dict[str, Any]] = {
    "v1.5": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "two": {"r": 2, "lora_alpha": 16, "target_modules": ["v_proj", "down_proj"], "rank_pattern": {"v_proj": 3}},
    "dora": {"r": 4, "use_dora": True, "target_modules": ["o_proj"]},
}


@pytest.fixture
def folders(tmp_path: Path, build: Any) -> dict[str, Path]:
    for number, (name, config) in enumerate(CONFIGS.items()):
        torch.manual_seed(number)
        settings = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **config)
        model = peft.get_peft_model(build("llama"), settings)
        with torch.no_grad():
            for place, parameter in model.named_parameters():
                if "magnitude" in place:
                    parameter.mul_(1.5)
        model.save_pretrained(tmp_path / name)
    return {name: tmp_path / name for name in CONFIGS}


def load_set(base: Path, folders: dict[str, Path], precision: str = "fp32") -> AdapterSet:
    return AdapterSet.load(str(base), folders, device="cpu", precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_mixed_requests_are_answered_as_by_each_adapter_alone(
    tiny_folder: Path, folders: dict[str, Path], random_rows: Rows, precision: str
) -> None:
    adapters = load_set(tiny_folder, folders, precision)
    rows = random_rows(12)
    names = ["v1.5", None, "two", "dora"] * 3
    prompts = [row.prompt_ids for row in rows]
    requests = [ScoringRequest(row.prompt_ids, [row.completion_ids, (5, 6)]) for row in rows]
    answers = adapters.ask(names, prompts, lambda lm, some: generate(lm, some, 6))
    choices = adapters.ask(names, requests, choice_logprobs)
    nats = adapters.ask(names, rows, row_nats)
    assert adapters.lm.engine.name == "flat"
    for name in (None, *CONFIGS):
        alone = load(str(tiny_folder), device="cpu", precision=precision, adapter=folders[name] if name else None)
        mine = [place for place, each in enumerate(names) if each == name]
        assert [answers[i] for i in mine] == generate(alone, [prompts[i] for i in mine], 6)
        assert [choices[i] for i in mine] == choice_logprobs(alone, [requests[i] for i in mine])
        assert [nats[i] for i in mine] == row_nats(alone, [rows[i] for i in mine])
        one_by_one = [row_nats(alone, [rows[i]])[0] for i in mine]
        assert [nats[i] for i in mine] == pytest.approx(one_by_one, rel=1e-5 if precision == "fp32" else 2e-2)
    assert len({round(value, 3) for value in adapters.ask(["v1.5", None, "two", "dora"], [rows[0]] * 4, row_nats)}) == 4
    assert not any(parameter.requires_grad for parameter in adapters.lm.model.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_merging_and_taking_out_again_changes_no_bit(
    tiny_folder: Path, folders: dict[str, Path], random_rows: Rows, precision: str
) -> None:
    adapters, rows = load_set(tiny_folder, folders, precision), random_rows(6)
    before, nats = hash_parameters(adapters.lm.model), adapters.ask(["two"] * 6, rows, row_nats)
    base = adapters.ask([None] * 6, rows, row_nats)
    for _ in range(3):
        with adapters.merged("two") as lm:
            assert hash_parameters(lm.model) != before
            assert row_nats(lm, rows) == pytest.approx(nats, rel=1e-4 if precision == "fp32" else 3e-2)
        assert hash_parameters(adapters.lm.model) == before
    assert adapters.ask(["two"] * 6, rows, row_nats) == nats
    assert adapters.ask([None] * 6, rows, row_nats) == base


def test_what_merging_would_change_is_refused_and_leaves_no_trace(tiny_folder: Path, folders: dict[str, Path]) -> None:
    """DoRA scales what it adds to, which an addition alone does not say."""
    adapters = load_set(tiny_folder, folders)
    before = hash_parameters(adapters.lm.model)
    said = pytest.raises(ModelError, match=r"dora: merged, its logits differ from the adapter's by \d")
    with said, adapters.merged("dora"):
        pass
    assert hash_parameters(adapters.lm.model) == before


def test_other_kinds_and_names_are_refused(
    tiny_folder: Path, folders: dict[str, Path], tmp_path: Path, build: Any
) -> None:
    adapters = load_set(tiny_folder, folders)
    with pytest.raises(ConfigError, match="no adapter 'v1.4' -> use v1.5"):
        adapters.ask(["v1.4"], [(5, 6)], lambda lm, some: generate(lm, some, 2))
    with pytest.raises(ConfigError, match="no adapters"):
        load_set(tiny_folder, {})
    config = peft.LoHaConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    peft.get_peft_model(build("llama"), config).save_pretrained(tmp_path / "loha")
    with pytest.raises(ModelError, match="an adapter of kind LOHA stands on no shared base"):
        load_set(tiny_folder, {**folders, "loha": tmp_path / "loha"})
    wide = build("llama", hidden_size=64)
    peft.get_peft_model(wide, peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "wide")
    with pytest.raises(ModelError, match="does not fit"):
        load_set(tiny_folder, {**folders, "wide": tmp_path / "wide"})


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # peft's, of adapters on a tied head
@pytest.mark.parametrize(
    ("more", "why"), [({"bias": "all"}, "bias"), ({"modules_to_save": ["lm_head"]}, "modules_to_save")]
)
def test_adapters_that_change_more_than_their_layers_are_refused(
    tiny_folder: Path, tmp_path: Path, build: Any, more: dict[str, Any], why: str
) -> None:
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], **more)
    peft.get_peft_model(build("llama"), config).save_pretrained(tmp_path / "more")
    with pytest.raises(ModelError, match=rf"changes more than LoRA's layers \({why}\)"):
        load_set(tiny_folder, {"more": tmp_path / "more"})


def test_an_adapter_of_another_kind_is_refused(tiny: Any, tiny_folder: Path, tmp_path: Path) -> None:
    from keeptune.methods.bottleneck import BottleneckConfig

    method = BottleneckConfig(size=4).build()
    tiny.adapt(method)
    method.save(tiny.model, tmp_path / "own", tiny.tokenizer)
    with pytest.raises(ModelError, match="an adapter of kind keeptune's own stands on no shared base"):
        load_set(tiny_folder, {"own": tmp_path / "own"})


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_two_additions_to_one_weight_are_not_merged(tiny: Any) -> None:
    from keeptune.methods.lora import LoraConfig

    before, method = hash_parameters(tiny.model), LoraConfig(rank=2, target_modules=("embed_tokens", "lm_head")).build()
    tiny.adapt(method)
    with pytest.raises(ModelError, match="one weight, and LoRA adds to each of them"):
        tiny.accept(method)
    tiny.restore(method)
    assert hash_parameters(tiny.model) == before
