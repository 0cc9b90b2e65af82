from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models import outputs
from keeptune.models.language_model import LanguageModel
from keeptune.train import objective
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.l2sp import L2SpConfig

Rows = Callable[..., list[Encoded]]
METHODS = [pytest.param(FullConfig(), 3e-3, id="full"), pytest.param(LoraConfig(rank=4), 1e-2, id="lora")]


def test_gradient_is_that_of_the_formula(
    make_case: Callable[..., Any], same: Callable[..., None], rows: list[Encoded], way: dict[str, Any], budget: int
) -> None:
    case = make_case(remedy=L2SpConfig(strength=0.3).build(), **way)

    def loss(hand: Any) -> Tensor:
        squares: Any = sum(((hand.tuned[name] - base) ** 2).sum() for name, base in hand.base.items())
        return hand.mean(rows, hand.nll) + 0.3 / 2 * squares

    same(case.gradients(rows, budget), case.by_hand(loss))


def test_a_pull_on_weights_makes_no_logits(
    make_case: Callable[..., Any], rows: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case("full", L2SpConfig().build())
    for module in (objective, outputs):
        monkeypatch.setattr(module, "logits", None)
    case.gradients(rows)


@pytest.mark.parametrize(("config", "lr"), METHODS)
def test_training_stays_nearer_to_the_base(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, config: Any, lr: float
) -> None:
    rows, lengths = random_rows(12), []
    for remedies in ([], [L2SpConfig(strength=1.0).build()]):
        arm = config.build()
        fit(tiny, arm, rows, [], TrainConfig(epochs=5, global_batch=4), tmp_path, lr=lr, remedies=remedies)
        with torch.no_grad():
            lengths.append(float(arm.squared_length(tiny.model)))
        tiny.restore(arm)
    assert 0 < lengths[1] < 0.5 * lengths[0]
    assert L2SpConfig(strength=0.01).build().describe() == "L2-SP 0.01"
