from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models import head
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.outputs import logits
from keeptune.train.drift import DriftBase, drift
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.freeze import FreezeConfig
from keeptune.train.remedies.kl import KlConfig, base_logits, forward_kl
from keeptune.train.step import batches_for

Rows = Callable[..., list[Encoded]]
METHODS = [pytest.param(FullConfig(), 3e-3, id="full"), pytest.param(LoraConfig(rank=4), 1e-2, id="lora")]


def test_gradient_is_that_of_the_formula(
    make_case: Callable[..., Any], same: Callable[..., None], rows: list[Encoded], way: dict[str, Any], budget: int
) -> None:
    case = make_case(remedy=KlConfig(weight=0.7).build(), **way)

    def loss(hand: Any) -> Tensor:
        def divergence(row: Encoded) -> Tensor:
            base, tuned = hand.logprobs(hand.base, row)[0], hand.logprobs(hand.tuned, row)[0]
            return (base.exp() * (base - tuned)).sum(-1)

        return hand.mean(rows, hand.nll) + 0.7 * hand.mean(rows, divergence)

    same(case.gradients(rows, budget), case.by_hand(loss))


@pytest.mark.parametrize("chunk", [1, 70, 10_000])
def test_chunks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    draw = torch.Generator().manual_seed(0)
    base, tuned = (3 * torch.randn(11, 20, generator=draw) for _ in range(2))
    weights = torch.rand(11, generator=draw)
    tuned.requires_grad_()
    p, q = base.double().softmax(-1), tuned.detach().double().softmax(-1)
    monkeypatch.setattr(head, "CHUNK", chunk)
    value = forward_kl(base, tuned, weights)
    value.backward()  # type: ignore[no-untyped-call]
    expected = ((p * (p.log() - q.log())).sum(-1) * weights).sum()
    assert float(value.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert tuned.grad is not None
    torch.testing.assert_close(tuned.grad.double(), (q - p) * weights[:, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_anchor_that_moves_along_is_the_same_pull_at_a_smaller_weight(share: float) -> None:
    """Mixing the current prediction into the base's changes the dose and nothing else."""
    draw = torch.Generator().manual_seed(1)
    base, current = (3 * torch.randn(7, 20, generator=draw) for _ in range(2))
    weights, gradients = torch.rand(7, generator=draw), []
    anchor = ((1 - share) * base.softmax(-1) + share * current.softmax(-1)).log()
    for pulled_to, weight in ((anchor, 1.0), (base, 1 - share)):
        tuned = current.clone().requires_grad_()
        (weight * forward_kl(pulled_to, tuned, weights)).backward()  # type: ignore[no-untyped-call]
        gradients.append(tuned.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=2, dropout=0.3)], ids=["full", "lora"])
@pytest.mark.parametrize("flat", [True, False])
def test_the_base_is_run_as_it_was_and_nothing_stays_changed(
    build: Callable[..., Any], tokenizer: Any, rows: list[Encoded], config: Any, dtype: torch.dtype, flat: bool
) -> None:
    lm = LanguageModel.wrap(build("llama", attention_dropout=0.3).to(dtype), tokenizer)
    lm = lm if flat else replace(lm, base_engine=PaddedEngine())
    batch = batches_for(lm, rows, 4096)[0]
    with torch.no_grad():
        before = logits(lm, batch)
    method = config.build()
    lm.adapt(method)
    with torch.no_grad():
        for parameter in method.trainable(lm.model).values():
            parameter += 0.1
    lm.model.train()
    weights, trainable = hash_parameters(lm.model), method.trainable(lm.model).keys()
    assert torch.equal(base_logits(lm, method, batch), before)
    assert lm.model.training and all(module.training for module in lm.model.modules())
    assert hash_parameters(lm.model) == weights and method.trainable(lm.model).keys() == trainable
    lm.model.eval()
    with torch.no_grad():
        assert not torch.equal(logits(lm, batch), before)  # it was switched on again


def test_full_fine_tuning_keeps_no_second_copy_on_a_cpu(tiny: LanguageModel) -> None:
    method = FullConfig().build()
    tiny.adapt(method)
    with method.base(tiny.model) as base:
        pointers = {p.data_ptr() for p in base.parameters()}
    assert pointers == {p.data_ptr() for p in method._base.values()}
    assert pointers.isdisjoint(p.data_ptr() for p in tiny.model.parameters())


@pytest.mark.parametrize(("config", "lr"), METHODS)
@pytest.mark.parametrize("frozen", [False, True])
def test_training_stays_nearer_to_the_base(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, config: Any, lr: float, frozen: bool
) -> None:
    rows, found = random_rows(12), []
    base = DriftBase.of(tiny, rows)
    for remedies in ([], [KlConfig(weight=20.0).build()]):
        arm = FreezeConfig(share=0.5).build().method(config.build()) if frozen else config.build()
        settings = TrainConfig(epochs=5, global_batch=4, token_budget=60)
        fit(tiny, arm, rows, [], settings, tmp_path, lr=lr, remedies=remedies)
        untouched = [name for name, delta in arm.inner.deltas(tiny.model) if "layers.0" in name] if frozen else []
        assert not untouched  # also not by switching the adapter off and on
        found.append(drift(tiny, arm, base))
        tiny.restore(arm)
    assert found[1].kl < 0.5 * found[0].kl
    assert found[1].agreement > found[0].agreement
    assert KlConfig(weight=0.5).build().describe() == "KL to base 0.5"
