from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.errors import ConfigError, ModelError
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.methods.partial import layer_stacks
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.load import load
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.freeze import FreezeConfig
from keeptune.train.step import mean_nll

Rows = Callable[..., list[Encoded]]
METHODS = [pytest.param(FullConfig(), 3e-3, id="full"), pytest.param(LoraConfig(rank=4), 1e-2, id="lora")]


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2", "gpt2", "gpt_neox", "opt", "mamba"])
def test_layers_are_found_in_every_architecture(build: Callable[..., Any], architecture: str) -> None:
    model = build(architecture, num_hidden_layers=4) if architecture != "gpt2" else build("gpt2", n_layer=4)
    method = FreezeConfig(share=0.5).build().method(FullConfig().build())
    before = dict(model.named_parameters())
    trained = set(method.trainable(method.prepare(model)))
    (layers,) = layer_stacks(model).values()
    assert len(layers) == 4
    frozen = before.keys() - trained
    for number, layer in enumerate(layers):
        own = {name for name, p in before.items() if any(p is q for q in layer.parameters())}
        assert own and (own <= frozen if number < 2 else own <= trained)
    assert any(p is model.get_input_embeddings().weight for p in map(before.get, frozen))
    untied = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    assert any(p is model.get_output_embeddings().weight for p in map(before.get, trained)) == untied


def test_experts_are_no_layers() -> None:
    layers = torch.nn.ModuleList(torch.nn.ModuleList(torch.nn.Linear(1, 1) for _ in range(8)) for _ in range(3))
    assert layer_stacks(torch.nn.Sequential(layers)) == {"0": layers}
    with pytest.raises(ModelError, match="keeps its layers in no list"):
        layer_stacks(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(("config", "lr"), METHODS)
def test_what_is_frozen_stays_and_what_is_saved_loads(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, config: Any, lr: float
) -> None:
    rows = random_rows(8)
    base, start = hash_parameters(tiny.model), {n: p.detach().clone() for n, p in tiny.model.named_parameters()}
    arm = FreezeConfig(share=0.5).build().method(config.build())
    result = fit(tiny, arm, rows, rows, TrainConfig(epochs=4, global_batch=4), tmp_path, lr=lr)
    assert result.best_step > 0
    changed = {name for name, delta in arm.inner.deltas(tiny.model) if delta.any()}
    assert changed and all("layers.1." in name or name == "model.norm.weight" for name in changed)
    if arm.artifact == "model":
        assert {n for n, p in tiny.model.named_parameters() if not torch.equal(p, start[n])} == changed
        assert mean_nll(load(str(tmp_path / "model"), precision="fp32", device="cpu"), rows, 4096) == pytest.approx(
            result.best_loss
        )
    else:
        lower = [p for n, p in tiny.model.named_parameters() if "layers.0." in n and "lora_B" in n]
        assert lower and not any(p.any() for p in lower)
    tiny.restore(arm)
    assert hash_parameters(tiny.model) == base
    again = FreezeConfig(share=0.5).build().method(config.build())
    tiny.adapt(again)
    again.load(tiny.model, tmp_path / again.artifact)
    assert mean_nll(tiny, rows, 4096) == pytest.approx(result.best_loss)
    assert arm.describe() == f"{config.build().describe()}, lowest 50 % frozen"


def test_something_has_to_train(tiny: LanguageModel) -> None:
    base = hash_parameters(tiny.model)
    arm = FreezeConfig(share=1.0).build().method(LoraConfig(rank=2).build())
    with pytest.raises(ConfigError, match="nothing is left to train"):
        tiny.adapt(arm)
    assert hash_parameters(tiny.model) == base


@pytest.mark.parametrize("share", ["25%", "0.25", 0.25])
def test_a_share_may_be_written_as_a_percentage(share: str | float) -> None:
    assert FreezeConfig.model_validate({"share": share}).share == 0.25


@pytest.mark.parametrize("share", ["110%", "-5%", "half", True])
def test_what_is_no_share_is_refused(share: object) -> None:
    with pytest.raises(ValueError, match="share"):
        FreezeConfig.model_validate({"share": share})
