"""Group-sequential verdicts: boundaries against published tables and simulation, and what they leave as it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from keeptune.core.records import ItemRecord
from keeptune.retention.change import change_of
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.sequential import (
    Boundaries,
    Stop,
    StoppedChange,
    boundaries,
    course,
    obrien_fleming,
    pocock,
    settled,
    squared,
)
from keeptune.retention.verdict import judge

ADDITION = Suite("addition", "exact_match", "binary", 0.02)
PROSE = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01)
FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)


def equal(looks: int) -> tuple[float, ...]:
    return tuple((look + 1) / looks for look in range(looks))


def both_sides(upper: tuple[float, ...]) -> Boundaries:
    return Boundaries(equal(len(upper)), tuple(-z for z in upper), upper)


@pytest.mark.parametrize(
    ("looks", "constant"), [(2, 2.178), (3, 2.289), (4, 2.361), (5, 2.413), (6, 2.453), (8, 2.512), (10, 2.555)]
)
def test_pococks_constants(looks: int, constant: float) -> None:
    """Jennison & Turnbull (2000), table 2.1: two-sided .05, the same boundary at every look."""
    assert 2 * both_sides((constant,) * looks).tail(looks - 1, -constant) == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(
    ("looks", "constant"), [(2, 1.977), (3, 2.004), (4, 2.024), (5, 2.040), (6, 2.053), (8, 2.072), (10, 2.087)]
)
def test_obrien_and_flemings_constants(looks: int, constant: float) -> None:
    """Jennison & Turnbull (2000), table 2.3: two-sided .05, a boundary over the root of the share."""
    upper = tuple(constant / math.sqrt(share) for share in equal(looks))
    assert 2 * both_sides(upper).tail(looks - 1, -constant) == pytest.approx(0.05, abs=1.2e-4)


@pytest.mark.parametrize(
    ("spend", "expected"),
    [
        (obrien_fleming, (4.877, 3.357, 2.680, 2.290, 2.031)),
        (pocock, (2.438, 2.427, 2.410, 2.397, 2.386)),
    ],
)
def test_boundaries_of_lan_and_demets(spend: object, expected: tuple[float, ...]) -> None:
    """Five equal looks, two-sided .05, as the programs of Reboussin, DeMets, Kim & Lan (2000) print them."""
    found = boundaries(FIVE, 0.025, 0.025, spend)  # type: ignore[arg-type]
    assert found.upper == pytest.approx(expected, abs=1e-3)
    assert found.lower == pytest.approx([-z for z in expected], abs=1e-3)


def simulated_tail(bounds: Boundaries, drift: float, last: int, z: float, draws: int) -> float:
    """The slow reference, walk by walk: stopped below before the look `last`, or reaches it and is below z there."""
    rng, shares = np.random.default_rng(last), np.array(bounds.shares[: last + 1])
    steps = np.diff(np.r_[0.0, shares])
    scores = np.cumsum(rng.normal(drift * steps, np.sqrt(steps), (draws, last + 1)), axis=1) / np.sqrt(shares)
    low, high = scores[:, :last] <= bounds.lower[:last], scores[:, :last] >= bounds.upper[:last]
    found = 0
    for walk in range(draws):
        out = np.flatnonzero(low[walk] | high[walk])
        found += low[walk, out[0]] if len(out) else scores[walk, last] <= z
    return found / draws


@pytest.mark.parametrize("drift", [0.0, -1.5, 2.0])
def test_integration_agrees_with_simulated_walks(drift: float) -> None:
    bounds, draws = boundaries((0.15, 0.4, 0.7, 1.0), 0.05, 0.05), 20_000
    for last, z in ((0, -1.0), (2, -1.2), (3, 0.3)):
        mean = drift * math.sqrt(bounds.shares[last])  # `tail` counts scores from it, and moves the boundaries
        expected = simulated_tail(bounds, drift, last, z, draws)
        assert bounds.tail(last, z - mean, mean) == pytest.approx(expected, abs=4 * math.sqrt(0.25 / draws))


@pytest.mark.parametrize("spend", [obrien_fleming, pocock, squared])
def test_levels_are_spent_whole(spend: object) -> None:
    bounds = boundaries(equal(7), 0.05, 0.05 / 9, spend)  # type: ignore[arg-type]
    assert bounds.tail(6, bounds.lower[-1]) == pytest.approx(0.05 / 9)
    assert bounds.mirrored.tail(6, -bounds.upper[-1]) == pytest.approx(0.05)


def test_a_single_look_is_the_test_of_today() -> None:
    bounds = boundaries((1.0,), 0.05, 0.025)
    assert (bounds.lower[0], bounds.upper[0]) == (pytest.approx(norm.ppf(0.025)), pytest.approx(norm.ppf(0.95)))


# The order


def test_the_order_is_fixed_and_knows_names_alone() -> None:
    clusters = [f"item {number}" for number in range(400)]
    found = course("addition", clusters, suites=3)
    assert found == course("addition", clusters, suites=3)
    assert len(found.blocks) == 10
    assert sorted(position for block in found.blocks for position in block) == list(range(400))
    shuffled = np.random.default_rng(0).permutation(400)
    again = course("addition", [clusters[k] for k in shuffled], suites=3)  # rows in another order: the same blocks
    assert [{int(shuffled[k]) for k in block} for block in again.blocks] == [set(block) for block in found.blocks]
    assert course("reading", clusters, suites=3).blocks != found.blocks
    assert list(found.blocks[0]) != list(range(40))


def test_clusters_stay_whole_and_no_block_is_smaller_than_a_verdict_allows() -> None:
    clusters = [f"document {number // 4}" for number in range(400)]
    found = course("reading", clusters, suites=1)
    assert len(found.blocks) == 3  # a hundred clusters
    held = [{clusters[k] for k in block} for block in found.blocks]
    assert sum(map(len, held)) == 100
    assert min(map(len, held)) >= 30
    assert found.boundaries.shares == pytest.approx(np.cumsum([len(each) for each in held]) / 100)
    assert len(course("reading", clusters[:236], suites=1).blocks) == 1


# What is said in the end


def sample(n: int, lost: float, gained: float, seed: int, clusters: int | None = None) -> PairedScores:
    rng = np.random.default_rng(seed)
    u = rng.random(n)
    before = (u < 0.7).astype(float)
    after = np.where((u < lost) | ((u >= 0.7) & (u < 0.7 + gained)), 1 - before, before)
    return PairedScores.of(before, after, None if clusters is None else np.arange(n) % clusters)


def prose(n: int, drop: float, seed: int) -> PairedScores:
    rng = np.random.default_rng(seed)
    before = rng.uniform(1.5, 2.5, n)
    return PairedScores.of(before, before * (1 + drop + rng.normal(0, 0.02, n)))


EXAMPLES = [
    pytest.param(ADDITION, sample(900, 0.05, 0.04, 0), id="right or wrong"),
    pytest.param(ADDITION, sample(900, 0.05, 0.05, 1, clusters=300), id="in clusters"),
    pytest.param(PROSE, prose(200, 0.004, 2), id="bits per byte"),
]


def items_of(suite: Suite, scores: PairedScores) -> dict[str, list[ItemRecord]]:
    rows = zip(scores.ids, scores.clusters, scores.before, strict=True)
    return {suite.name: [ItemRecord(suite=suite.name, id=str(i), cluster=str(c), score=s) for i, c, s in rows]}


@pytest.mark.parametrize(("suite", "scores"), EXAMPLES)
def test_one_block_gives_the_verdict_of_today_exactly(suite: Suite, scores: PairedScores) -> None:
    base = items_of(suite, scores)
    whole = Stop(boundaries((1.0,), 0.05, 0.05), 0, 0)
    assert judge([(suite, scores)], base, stops={suite.name: whole}) == judge([(suite, scores)], base)


@pytest.mark.parametrize(("suite", "scores"), EXAMPLES)
def test_bounds_p_values_and_mirror_images_agree(suite: Suite, scores: PairedScores) -> None:
    stop = Stop(boundaries(FIVE, 0.05, 0.05 / 3), 3, 0)
    found = StoppedChange.of(change_of(suite, scores), stop, suite.required_margin)
    low, high = found.interval()
    assert low < found.estimate < high
    assert found.p_below(high) == pytest.approx(0.025, abs=1e-4)
    assert found.mirrored.p_below(-low) == pytest.approx(0.025, abs=1e-4)
    assert found.mirrored.mirrored == found
    assert found.lower_bound() == pytest.approx(found.interval(0.9)[0])
    nominal = change_of(suite, scores)
    assert (low, high) != nominal.interval()
    for value in (-0.03, -0.02, -0.01, 0.0, 0.01):
        assert found.p_below(value) >= nominal.p_below(value)
    assert low <= nominal.interval()[0] + 1e-6 and high >= nominal.interval()[1] - 1e-6


def until_settled(suite: Suite, scores: PairedScores, suites: int = 1) -> tuple[PairedScores, Stop]:
    planned = course(suite.name, [str(k) for k in scores.clusters], suites)
    for look in range(len(planned.blocks)):
        asked = sorted(position for block in planned.blocks[: look + 1] for position in block)
        parts = (each[asked] for each in (scores.ids, scores.clusters, scores.before, scores.after, scores.weights))
        seen, stop = PairedScores(*parts), planned.stop(look)
        if settled(suite, seen, stop):
            break
    return seen, stop


def test_a_clear_case_stops_early_and_the_verdict_says_what_was_left() -> None:
    for lost, gained, word in ((0.01, 0.01, "Retained"), (0.2, 0.0, "Harmed")):
        scores = sample(2_000, lost, gained, seed=3)
        seen, stop = until_settled(ADDITION, scores)
        (verdict,) = judge([(ADDITION, seen)], items_of(ADDITION, scores), stops={"addition": stop})
        assert verdict.verdict == word
        assert stop.look < 6
        assert (verdict.n, verdict.unasked) == (seen.n, 2_000 - seen.n)
        assert f"n = {seen.n:,}; {2_000 - seen.n:,} more were not needed" in verdict.sentence


@pytest.mark.slow
@pytest.mark.parametrize("drop", [0.02, 0.0])
def test_error_rates_and_coverage_in_a_short_simulation(drop: float) -> None:
    """`make calibration` in short: at a true loss of exactly the margin, and where nothing was lost."""
    draws, wrong, covered = 150, 0, 0
    for seed in range(draws):
        seen, stop = until_settled(ADDITION, sample(600, 0.04 + drop, 0.04, seed))
        found = StoppedChange.of(change_of(ADDITION, seen), stop, 0.02)
        above, below = found.mirrored.p_below(drop), found.p_below(-drop)
        covered += min(above, below) >= 0.025
        if drop:
            (verdict,) = judge([(ADDITION, seen)], stops={"addition": stop})
            wrong += verdict.verdict in ("Retained", "Harmed")
            assert (verdict.verdict == "Retained") == (above < 0.05)  # the bound and the boundary are one rule
            assert (verdict.verdict == "Harmed") == (below < 0.05)
    assert wrong <= draws * (0.10 + 3 * math.sqrt(0.10 * 0.90 / draws))  # 5 % on each side
    assert covered >= draws * (0.95 - 3 * math.sqrt(0.05 * 0.95 / draws))


def test_looking_without_boundaries_would_be_wrong_too_often() -> None:
    """What the boundaries are for: the test of today, taken at every look, errs twice as often as it says."""
    draws, wrong = 150, 0
    for seed in range(draws):
        scores = sample(600, 0.06, 0.04, seed)
        shares = (np.arange(600) % 10, scores)[0]
        looks = (change_of(ADDITION, _first(scores, shares <= look)) for look in range(10))
        wrong += any(change.lower_bound() > -0.02 for change in looks)
    assert wrong > 0.10 * draws


def _first(scores: PairedScores, chosen: np.ndarray) -> PairedScores:
    return PairedScores.of(scores.before[chosen], scores.after[chosen])
