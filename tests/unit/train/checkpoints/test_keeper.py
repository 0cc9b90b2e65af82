"""When checkpoints are written; a clock that only the test moves."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.launch.world import ALONE
from keeptune.train.checkpoints.keeper import FOLDER, SHARE, SLOW, SOONEST, Checkpoints


class Counter:
    """A part of a training."""

    def __init__(self) -> None:
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "tensor": torch.full((3,), float(self.step))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["tensor"].tolist() == 3 * [state["step"]]
        self.step = state["step"]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("cost", [0.0, 0.1, 2.0, 30.0])
def test_auto_spends_its_share_of_the_time_and_no_more(
    tmp_path: Path, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, part, spent = Clock(), Counter(), []
    checkpoints = Checkpoints(
        tmp_path, "key", {"counter": part}, (), "auto", size=round(cost * SLOW), world=ALONE, clock=clock
    )

    def write(place: Path, step: int, state: Any) -> None:
        clock.now += cost
        spent.append(step)

    monkeypatch.setattr(checkpoints.files, "write", write)
    for part.step in range(1, 5001):
        clock.now += 1.0  # a step
        checkpoints.after_step(part.step, 0)
    assert len(spent) * cost <= SHARE * clock.now
    assert len(spent) >= 0.9 * 5000 / max(SOONEST + 1, cost / SHARE + 1)
    assert min(b - a for a, b in itertools.pairwise(spent)) >= SOONEST


def test_a_number_is_kept_to_and_the_newest_two_stay(tmp_path: Path) -> None:
    def checkpoints(part: Counter) -> Checkpoints:
        return Checkpoints(tmp_path, "key", {"counter": part}, (), 4, size=10, world=ALONE)

    part = Counter()
    first = checkpoints(part)
    assert first.resume() == 0
    for part.step in range(1, 14):
        first.after_step(part.step, 0)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-00000008", "step-00000012"]
    again = Counter()
    assert checkpoints(again).resume() == again.step == 12
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-00000012"]
