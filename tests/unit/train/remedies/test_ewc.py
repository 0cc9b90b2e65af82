from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded
from keeptune.methods.config import FullConfig, LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.train.config import TrainConfig
from keeptune.train.loop import fit
from keeptune.train.remedies.config import EwcConfig, FreezeConfig
from keeptune.train.remedies.ewc import fisher
from keeptune.train.step import mean_nll

Rows = Callable[..., list[Encoded]]
METHODS = [pytest.param(FullConfig(), 3e-3, id="full"), pytest.param(LoraConfig(rank=4), 1e-2, id="lora")]


def information(hand: Any, rows: list[Encoded], names: list[str]) -> dict[str, Tensor]:
    """The mean over examples of the squared gradient of their summed log-likelihood, at the base."""
    found = {name: torch.zeros_like(hand.base[name]) for name in names}
    for row in rows:
        weights = {name: p.clone().requires_grad_(name in found) for name, p in hand.base.items()}
        gradients = torch.autograd.grad(-hand.nll(row, weights).sum(), [weights[name] for name in names])
        for name, gradient in zip(names, gradients, strict=True):
            found[name] += gradient**2 / len(rows)
    return found


def test_fisher_and_gradient_are_those_of_the_formula(
    make_case: Callable[..., Any],
    same: Callable[..., None],
    rows: list[Encoded],
    random_rows: Rows,
    way: dict[str, Any],
    budget: int,
) -> None:
    retained = random_rows(5, seed=8)
    case = make_case(remedy=EwcConfig(strength=0.2).build({"suite": retained}), **way)
    seen = {}

    def loss(hand: Any) -> Tensor:
        moved = [name for name, base in hand.base.items() if not torch.equal(hand.tuned[name].detach(), base)]
        seen.update(information(hand, retained, moved))
        form: Any = sum((seen[name] * (hand.tuned[name] - hand.base[name]) ** 2).sum() for name in moved)
        return hand.mean(rows, hand.nll) + 0.2 / 2 * form

    expected = case.by_hand(loss)
    same(case.terms[0].fisher, seen)
    same(case.gradients(rows, budget), expected)


@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=2)], ids=["full", "lora"])
def test_measuring_changes_nothing(tiny: LanguageModel, random_rows: Rows, config: Any) -> None:
    method = FreezeConfig(share=0.5).build().method(config.build())
    tiny.adapt(method)
    weights, trainable = hash_parameters(tiny.model), method.trainable(tiny.model).keys()
    tiny.model.train()
    found = fisher(tiny, method, random_rows(3))
    assert tiny.model.training
    assert hash_parameters(tiny.model) == weights and method.trainable(tiny.model).keys() == trainable
    assert all(p.grad is None for p in tiny.model.parameters())
    assert found.keys() == dict(method.deltas(tiny.model)).keys()
    assert not any("layers.0." in name for name in found) and any("layers.1." in name for name in found)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


def test_every_suite_gives_equally_many_rows_as_far_as_it_has_them(random_rows: Rows) -> None:
    rows, few = random_rows(10), random_rows(2)
    assert EwcConfig(examples=4).build({"a": rows}).rows == [rows[0], rows[2], rows[5], rows[7]]
    assert EwcConfig(examples=4).build({"a": rows, "b": few}).rows == [*few, rows[0], rows[5]]
    assert EwcConfig(examples=7).build({"a": rows, "b": few}).rows == [*few, *(rows[i] for i in (0, 2, 4, 6, 8))]
    assert EwcConfig().build({"a": rows, "b": few}).rows == [*few, *rows]
    with pytest.raises(DataError, match="EWC has no rows"):
        EwcConfig().build({"a": []})


@pytest.mark.parametrize(("config", "lr"), METHODS)
def test_training_forgets_less_of_the_rows(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, config: Any, lr: float
) -> None:
    """The base is first taught what is to be kept: only then does it have something to lose."""
    retained, rows, losses = random_rows(8, seed=5), random_rows(12), []
    teacher = FullConfig().build()
    fit(tiny, teacher, retained, [], TrainConfig(epochs=40, global_batch=8), tmp_path / "base", lr=5e-3)
    tiny = LanguageModel.wrap(tiny.model.requires_grad_(False), tiny.tokenizer)
    losses.append(mean_nll(tiny, retained, 4096))
    for remedies in ([], [EwcConfig(strength=1000).build({"suite": retained})]):
        arm = config.build()
        fit(tiny, arm, rows, [], TrainConfig(epochs=5, global_batch=4), tmp_path / "arm", lr=lr, remedies=remedies)
        losses.append(mean_nll(tiny, retained, 4096))
        tiny.restore(arm)
    base, plain, held = losses
    assert held - base < 0.7 * (plain - base)
    assert EwcConfig(strength=1000).build({"suite": retained}).describe() == "EWC 1000"
