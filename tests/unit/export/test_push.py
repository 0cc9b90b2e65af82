"""A pushed repository of a stand-in hub loads in plain transformers and peft, and its card is a card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from exported_models import arm, said, scored
from hub import Hub, serving
from huggingface_hub import ModelCard, constants, hf_api
from peft import PeftModel
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from keeptune.cli.main import app
from keeptune.core.errors import ConfigError, ModelError
from keeptune.export.check import distance
from keeptune.export.push import push
from keeptune.models.load import load


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process talks to, with an empty cache."""
    hub = Hub()
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving(hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(hf_api.api, "endpoint", address)  # that peft's calls go through
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield hub


def test_a_merged_model(run: Path, hub: Hub) -> None:
    chosen = arm(run, "lora")
    address = push(chosen, "owner/colours", merge=True, license="apache-2.0").url
    assert "/owner/colours/commit/" in address
    model = AutoModelForCausalLM.from_pretrained("owner/colours")
    assert distance(scored(chosen), said(model, chosen)).kl < 1e-6
    card = ModelCard(hub.files["owner/colours"]["README.md"].decode())
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    for verdict in chosen.arm.suites:
        assert verdict.sentence in card.text
    (data,) = chosen.summary.cards
    assert data.sha256[:16] in card.text and chosen.summary.manifest.command in card.text
    assert str(run.parent) not in card.text.replace(chosen.summary.manifest.command, "")  # no paths of this machine
    assert load("owner/colours@v1").name == "owner/colours@v1"
    with pytest.raises(ModelError, match="no such revision"):
        load("owner/colours@v2")


def test_an_adapter(run: Path, hub: Hub) -> None:
    chosen = arm(run, "lora")
    push(chosen, "owner/adapter")
    base = AutoModelForCausalLM.from_pretrained(chosen.base)
    model = PeftModel.from_pretrained(base, "owner/adapter")
    assert distance(scored(chosen), said(model, chosen)).largest == 0
    card = ModelCard(hub.files["owner/adapter"]["README.md"].decode())
    assert card.data.library_name == "peft" and "PeftModel.from_pretrained" in card.text


def test_the_command_prints_what_its_schema_says(run: Path, hub: Hub) -> None:
    ended = CliRunner().invoke(app, ["push", str(run), "owner/colours", "--arm", arm(run, "lora").arm.name, "--json"])
    assert ended.exit_code == 0, ended.output
    schema = Path(__file__).parents[3] / "docs" / "schemas" / "push.json"
    jsonschema.validate(found := json.loads(ended.stdout), json.loads(schema.read_text(encoding="utf-8")))
    assert "/owner/colours/commit/" in found["url"]


def test_refusals_say_what_to_do(run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.refuses = 403
    with pytest.raises(ModelError, match="does not let you write there.*hf auth login"):
        push(arm(run, "lora"), "owner/colours")
    with pytest.raises(ConfigError, match="is no repository.*write owner/name"):
        push(arm(run, "lora"), "colours")
    hub.gated.add("owner/gated")
    with pytest.raises(ModelError, match="asks you to accept terms.*owner/gated, and log in"):
        load("owner/gated")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        load("owner/elsewhere")
