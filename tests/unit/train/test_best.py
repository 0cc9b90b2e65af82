"""Which checkpoint of a training is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from keeptune.train.best import Best


class Saves:
    """A method that saves nothing."""

    artifact = "adapter"

    def save(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("offers", "kept"),
    [
        ([(0, 2.0, 9), (1, 1.5, 9), (2, 1.0, 9), (3, 1.2, 9)], 2),  # nobody asked what they keep: the lowest loss
        ([(0, 2.0, 9), (1, 1.5, 0), (2, 1.0, 2), (3, 1.2, 2)], 1),  # the last that kept everything
        ([(0, 2.0, 9), (1, 1.5, 1), (2, 1.4, 0), (3, 1.0, 1)], 2),
        ([(0, 2.0, 9), (1, 2.5, 0), (2, 1.0, 2)], 2),  # what learned nothing keeps everything, and is no choice
        ([(0, 2.0, 9), (1, 2.5, 0)], 0),
        ([(0, 2.0, 9), (1, math.nan, 0), (2, 1.5, 2)], 2),
    ],
)
def test_what_keeps_the_suites_goes_before_a_lower_loss(
    offers: list[tuple[int, float, int]], kept: int, tmp_path: Path
) -> None:
    model: Any = type("Model", (), {"model": None, "tokenizer": None})()
    saves: Any = Saves()
    best = Best(model, saves, tmp_path)
    for step, loss, tier in offers:
        best.offer(step, loss, tier)
    assert best.step == kept
