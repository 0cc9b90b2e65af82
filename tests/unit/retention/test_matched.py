"""Two arms at equal target score: frontiers by hand, what is refused, and what makes no difference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptune.core.errors import DataError
from keeptune.core.records import Matched
from keeptune.retention.matched import Frontiers, Point, loss_at, matched, pareto

CODES = [np.arange(50), np.arange(50)]


def point(target: float, loss: float, spread: float = 0.0) -> Point:
    """A model whose 50 items have these means; `spread` is what they differ by."""
    off = spread * np.tile([1.0, -1.0], 25)
    return Point(np.full(50, target) + off, [np.full(50, loss) + off])


def compare(a: Frontiers, b: Frontiers) -> Matched:
    return matched(a, b, CODES, arms=("lora", "full"), labels=("LoRA", "full fine-tuning"))


def test_the_envelope_by_hand() -> None:
    frontier = [(0.2, 1.0), (0.6, 2.0), (0.5, 3.0), (0.9, 8.0)]
    assert pareto(frontier).tolist() == [[0.2, 1.0], [0.6, 2.0], [0.9, 8.0]]
    assert loss_at(frontier, 0.6) == 2.0
    assert loss_at(frontier, 0.4) == pytest.approx(1.5)
    assert loss_at(frontier, 0.75) == pytest.approx(5.0)


def test_arms_are_read_at_the_highest_score_that_both_reach() -> None:
    a = {seed: [point(0.2, 1.0), point(0.8, 2.0 + seed)] for seed in range(3)}
    b = {seed: [point(0.2, 1.0), point(0.9, 8.0 + seed)] for seed in range(3)}
    found = compare(a, b)
    assert found.level == pytest.approx(0.8)
    expected = [2.0 + s - (1.0 + (7.0 + s) * 0.6 / 0.7) for s in range(3)]
    assert found.differences == pytest.approx(expected)
    assert found.interval is not None and found.upper_bound is not None
    assert found.interval.low < found.mean < found.upper_bound < found.interval.high
    assert found.sentence.startswith("At 80.0 points of target score LoRA lost 4.9 margins less than full fine-tuning")


def test_no_line_is_drawn_from_the_base() -> None:
    """One arm was measured from 60 points on, the other up to 50 only."""
    found = compare({0: [point(0.6, 3.0), point(0.9, 8.0)]}, {0: [point(0.3, 1.0), point(0.5, 2.0)]})
    assert not found.comparable
    assert found.level is None
    assert "50.0 is the highest score of one of them and 60.0 the lowest of the other" in found.sentence


def test_arms_without_a_common_seed_are_not_compared() -> None:
    assert "no seed was run with both" in compare({0: [point(0.5, 1.0)]}, {1: [point(0.5, 1.0)]}).sentence


def test_both_arms_give_as_many_models() -> None:
    """The envelope of twenty noisy models lies below that of two of them."""
    rng = np.random.default_rng(0)
    many = [point(0.5 + i / 100, float(rng.normal(3.0, 1.0))) for i in range(20)]
    few = [many[0], many[-1]]
    assert compare({0: many}, {0: few}).mean == pytest.approx(0.0)


def test_two_seeds_say_nothing_about_the_methods() -> None:
    found = compare({s: [point(0.5, 1.0)] for s in (0, 1)}, {s: [point(0.5, 2.0)] for s in (0, 1)})
    assert found.interval is None
    assert found.sentence.endswith("(2 seeds, which say nothing about the methods; 3 are the least)")


def test_items_that_differ_widen_the_interval() -> None:
    quiet = compare({s: [point(0.5, 1.0 + s)] for s in range(3)}, {s: [point(0.5, 2.0)] for s in range(3)})
    loud = compare({s: [point(0.5, 1.0 + s, spread=5.0)] for s in range(3)}, {s: [point(0.5, 2.0)] for s in range(3)})
    assert quiet.interval is not None and loud.interval is not None
    assert loud.interval.high - loud.interval.low > 1.2 * (quiet.interval.high - quiet.interval.low)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 5)), min_size=1, max_size=8))
def test_an_arm_loses_no_more_than_itself(places: list[tuple[float, float]]) -> None:
    arm = {seed: [point(*place) for place in places] for seed in range(3)}
    found = compare(arm, arm)
    assert found.comparable
    assert found.mean == 0.0


def test_refuses_what_is_no_frontier() -> None:
    with pytest.raises(DataError, match="at least one model"):
        pareto([])
    with pytest.raises(DataError, match="not a list of finite pairs"):
        pareto([(0.1, float("nan"))])
