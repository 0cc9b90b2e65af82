from __future__ import annotations

import itertools

import pytest

from keeptune.train.schedule import learning_rate


def test_warms_up_linearly_then_falls_to_a_tenth() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.1) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert rates[9] == max(rates) == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(0.1)
    assert rates[54] == pytest.approx(0.55)  # half-way down


@pytest.mark.parametrize("warmup", [0.0, 0.06, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_a_positive_rate_everywhere(steps: int, warmup: float) -> None:
    assert all(0 < learning_rate(step, steps, 1.0, warmup) <= 1 for step in range(1, steps + 1))
