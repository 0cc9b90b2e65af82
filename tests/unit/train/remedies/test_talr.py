from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.data.examples import Encoded
from keeptune.methods.config import FullConfig, LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.config import TrainConfig
from keeptune.train.loop import fit
from keeptune.train.remedies.config import TalrConfig
from keeptune.train.remedies.talr import token_weights
from keeptune.train.step import mean_nll

Rows = Callable[..., list[Encoded]]
METHODS = [pytest.param(FullConfig(), 3e-3, id="full"), pytest.param(LoraConfig(rank=4), 1e-2, id="lora")]


@pytest.mark.parametrize("floor", [0.01, 0.36])
def test_gradient_is_that_of_the_weighted_loss(
    make_case: Callable[..., Any],
    same: Callable[..., None],
    rows: list[Encoded],
    way: dict[str, Any],
    budget: int,
    floor: float,
) -> None:
    case = make_case(remedy=TalrConfig(floor=floor).build(), **way)

    def loss(hand: Any) -> Tensor:
        nll = torch.cat([hand.nll(row) for row in rows])
        p, tau = torch.exp(-nll.detach()), nll.detach().mean()
        weights = torch.maximum(p ** (1 / tau), torch.tensor(floor, dtype=torch.float64))
        assert floor == 0.01 or 0.1 < float((weights == floor).double().mean()) < 0.9
        return (weights * nll).sum() / len(nll)

    same(case.gradients(rows, budget), case.by_hand(loss))


def test_weights_of_tokens() -> None:
    logprobs = torch.tensor([0.0, -2.0, -200.0])
    assert token_weights(logprobs, torch.tensor(2.0), 0.01).tolist() == pytest.approx([1.0, math.exp(-1), 0.01])
    assert token_weights(torch.zeros(2), torch.tensor(0.0), 0.01).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("config", "lr"), METHODS)
def test_unlikely_tokens_are_learned_later(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, config: Any, lr: float
) -> None:
    """Rows that a model knows by heart, and as many that are new to it."""
    known, new, losses = random_rows(6, seed=5), random_rows(6), []
    teacher = FullConfig().build()
    fit(tiny, teacher, known, [], TrainConfig(epochs=40, global_batch=6), tmp_path / "base", lr=5e-3)
    tiny = LanguageModel.wrap(tiny.model.requires_grad_(False), tiny.tokenizer)
    losses.append([mean_nll(tiny, rows, 4096) for rows in (known, new)])
    for remedies in ([], [TalrConfig().build()]):
        arm = config.build()
        settings = TrainConfig(epochs=3, global_batch=4, token_budget=30)
        fit(tiny, arm, [*known, *new], [], settings, tmp_path / "arm", lr=lr, remedies=remedies)
        losses.append([mean_nll(tiny, rows, 4096) for rows in (known, new)])
        tiny.restore(arm)
    base, plain, gated = losses
    assert plain[1] < gated[1] < base[1]
    assert gated[0] < plain[0]
    assert TalrConfig().build().describe() == "TALR"
