"""Arms at equal target score: the envelope, the level, the seeds, the sentence."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from keeptune.core.errors import DataError
from keeptune.core.records import Matched
from keeptune.retention.matched import Frontiers, common_levels, drop_at, matched, matched_curve, pareto

NAMES = {"arms": ("lora", "full"), "labels": ("LoRA r=16", "full fine-tuning")}
BASE = 0.1

pairs = st.lists(
    st.tuples(st.integers(0, 100).map(lambda x: x / 100), st.integers(-20, 60).map(lambda x: x / 100)), min_size=1
)


def line(slope: float, top: float, points: int = 5) -> list[tuple[float, float]]:
    """A frontier from the base on which every point of target score costs `slope` points."""
    return [(float(x), slope * (float(x) - BASE)) for x in np.linspace(BASE, top, points)]


def compare(a: Frontiers, b: Frontiers, **options: object) -> Matched:
    return matched(a, b, **NAMES, **options)  # type: ignore[arg-type]


def slow_drop(frontier: list[tuple[float, float]], level: float) -> float:
    """The envelope by its definition: the Pareto points one by one, and the segment around the level."""
    kept = sorted(
        {p for p in frontier if not any(q[0] >= p[0] and q[1] <= p[1] and q != p for q in frontier)},
    )
    if level > kept[-1][0]:
        return math.nan
    below = [p for p in kept if p[0] <= level]
    above = [p for p in kept if p[0] >= level]
    if not below or below[-1][0] == level:
        return (below[-1] if below else above[0])[1]
    (x0, y0), (x1, y1) = below[-1], above[0]
    return y0 + (y1 - y0) * (level - x0) / (x1 - x0)


@given(pairs, st.integers(0, 100).map(lambda x: x / 100))
def test_envelope_equals_its_definition(frontier: list[tuple[float, float]], level: float) -> None:
    assert drop_at(frontier, level) == pytest.approx(slow_drop(frontier, level), nan_ok=True)


@given(pairs)
def test_envelope_never_lies_above_a_point_and_only_rises(frontier: list[tuple[float, float]]) -> None:
    drops = [drop_at(frontier, level) for level in np.linspace(0, max(x for x, _ in frontier), 20)]
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(drops))
    assert all(drop_at(frontier, x) <= drop + 1e-12 for x, drop in frontier)


def test_dominated_points_change_nothing() -> None:
    frontier = [(0.1, 0.0), (0.5, 0.2), (0.8, 0.3)]
    assert pareto([*frontier, (0.5, 0.25), (0.7, 0.3), (0.8, 0.3)]).tolist() == [list(p) for p in frontier]
    assert drop_at(frontier, 0.65) == pytest.approx(0.25)
    assert drop_at(frontier, 0.05) == 0.0  # base and all above it
    assert math.isnan(drop_at(frontier, 0.81))


def test_differences_are_read_at_the_highest_level_that_all_reach() -> None:
    lora = {s: line(0.2, top) for s, top in enumerate((0.8, 0.9, 0.85))}
    full = {s: line(slope, 0.95) for s, slope in enumerate((0.5, 0.6, 0.4))}
    found = compare(lora, full, base=BASE)
    assert found.comparable
    assert found.level == pytest.approx(0.8)
    assert found.seeds == (0, 1, 2)
    np.testing.assert_allclose(found.differences, [-0.21, -0.28, -0.14])
    assert found.mean == pytest.approx(-0.21)
    test = ttest_1samp(found.differences, 0)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(test.confidence_interval(0.95).low)
    one_sided = ttest_1samp(found.differences, 0, alternative="less").confidence_interval(0.95).high
    assert found.upper_bound == pytest.approx(one_sided)
    assert found.sentence == (
        "At 80.0 points of target score LoRA r=16 lost 21.0 points less than full fine-tuning"
        " (95 % 3.6 to 38.4, 3 seeds)"
    )


def test_swapping_the_arms_mirrors_the_comparison() -> None:
    a = {s: line(0.2 + s / 20, 0.8) for s in range(4)}
    b = {s: line(0.3, 0.7) for s in range(4)}
    one, other = compare(a, b, base=BASE), compare(b, a, base=BASE)
    assert one.mean == pytest.approx(-(other.mean or 0))
    assert one.interval is not None and other.interval is not None
    assert one.interval.low == pytest.approx(-other.interval.high)
    assert "lost 1.5 points less than" in one.sentence and "not shown to differ" in one.sentence
    assert "lost 1.5 points more than" in other.sentence


@pytest.mark.parametrize(("seeds", "words"), [(1, "one seed, which says nothing"), (2, "2 seeds, which say nothing")])
def test_few_seeds_have_a_difference_and_no_interval(seeds: int, words: str) -> None:
    found = compare({s: line(0.2, 0.8) for s in range(seeds)}, {s: line(0.3, 0.8) for s in range(seeds)}, base=BASE)
    assert found.comparable and found.mean == pytest.approx(-0.07)
    assert found.interval is None and found.upper_bound is None
    assert words in found.sentence


def test_only_common_seeds_are_paired() -> None:
    found = compare({0: line(0.2, 0.8), 7: line(0.2, 0.3)}, {0: line(0.3, 0.8), 1: line(9, 0.2)}, base=BASE)
    assert (found.seeds, found.level) == ((0,), pytest.approx(0.8))
    nothing = compare({0: line(0.2, 0.8)}, {1: line(0.2, 0.8)}, base=BASE)
    assert not nothing.comparable and "no seed was run with both" in nothing.sentence


def test_an_arm_that_gained_nothing_is_not_comparable() -> None:
    found = compare({0: line(0.2, 0.8), 1: [(0.05, 0.3)]}, {0: line(0.3, 0.8), 1: line(0.3, 0.8)}, base=BASE)
    assert not found.comparable
    assert (found.level, found.mean, found.differences) == (None, None, ())
    assert found.sentence == (
        "LoRA r=16 and full fine-tuning are not comparable at equal target score:"
        " LoRA r=16 reaches 10.0 at most (seed 1), no more than the base (10.0)"
    )


def test_without_a_base_ranges_must_overlap() -> None:
    found = compare({0: [(0.4, 0.0), (0.5, 0.1)]}, {0: [(0.6, 0.1), (0.9, 0.4)]})
    assert not found.comparable
    assert "LoRA r=16 reaches 50.0 at most (seed 0), below 60.0" in found.sentence
    assert compare({0: [(0.4, 0.0), (0.7, 0.1)]}, {0: [(0.6, 0.1), (0.9, 0.4)]}).level == 0.7


def test_a_level_that_one_arm_does_not_reach_is_refused() -> None:
    arms = {0: line(0.2, 0.6)}, {0: line(0.2, 0.8)}
    assert "below 70.0" in compare(*arms, base=BASE, level=0.7).sentence
    assert "is not above 10.0" in compare(*arms, base=BASE, level=0.1).sentence
    assert compare(*arms, base=BASE, level=0.5).level == 0.5


def test_curve_goes_down_towards_the_base() -> None:
    a, b = {0: line(0.2, 0.9)}, {0: line(0.5, 0.9)}
    curve = matched_curve(a, b, **NAMES, base=BASE)  # type: ignore[arg-type]
    assert [point.level for point in curve] == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert [point.mean for point in curve] == pytest.approx([-0.24, -0.18, -0.12, -0.06])
    assert common_levels({0: [(0.1, 0.0)]}, b, BASE, 4) == ()
    refused = matched_curve({0: []}, b, **NAMES, base=BASE)  # type: ignore[arg-type]
    assert len(refused) == 1 and not refused[0].comparable


def test_refuses_what_is_no_frontier() -> None:
    with pytest.raises(DataError, match="not a list of finite pairs"):
        pareto([(0.1, math.nan)])
    with pytest.raises(DataError, match="has no point"):
        compare({0: []}, {0: line(0.2, 0.8)})
