"""The change of a suite: its error against a jackknife in plain Python, and which limits are used where."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from keeptune.core.errors import DataError
from keeptune.retention.binary import tango_lower, z_quantile
from keeptune.retention.change import Change, change_of, change_of_scores, skewed, unskewed
from keeptune.retention.clusters import cluster_codes, ratio
from keeptune.retention.pairs import PairedScores, Suite

PROSE = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01)
F1 = Suite("intents", "macro_f1", "mean", 0.02)


def paired(
    before: np.ndarray,
    after: np.ndarray,
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> PairedScores:
    index = np.arange(len(before))
    return PairedScores(
        index,
        index if clusters is None else clusters,
        before,
        after,
        np.ones(len(before)) if weights is None else weights,
        labels,
    )


def uneven(seed: int, k: int = 60) -> PairedScores:
    """Graded scores in clusters of 1 to 40 items that move together."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(k), rng.integers(1, 41, k))
    before = rng.uniform(0.2, 0.8, len(codes))
    return paired(before, np.clip(before + rng.normal(-0.01, 0.1, k)[codes], 0, 1), codes)


def test_the_error_is_that_of_leaving_out_a_cluster_at_a_time() -> None:
    scores = uneven(0)
    change, codes = change_of_scores(scores), scores.codes
    difference = scores.after - scores.before
    left_out = [difference[codes != k].mean() for k in range(scores.n_clusters)]
    k = len(left_out)
    expected = math.sqrt((k - 1) / k * sum((x - difference.mean()) ** 2 for x in left_out))
    assert change.estimate == pytest.approx(difference.mean())
    assert change.se == pytest.approx(expected)


def test_equal_items_are_students_t() -> None:
    rng = np.random.default_rng(1)
    before = rng.uniform(0.2, 0.8, 200)
    noise = rng.normal(0, 0.05, 100)
    after = before - 0.02 + np.r_[noise, -noise]
    found, expected = change_of_scores(paired(before, after)), ttest_1samp(after - before, 0)
    interval = expected.confidence_interval(0.95)
    assert found.interval() == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.p_worse == pytest.approx(ttest_1samp(after - before, 0, alternative="less").pvalue)


def test_effective_clusters_are_few_where_one_holds_half_of_the_items() -> None:
    codes = np.repeat(np.arange(101), [100] + [1] * 100)
    found = ratio(np.zeros(200), np.ones(200), codes)
    assert found.clusters == 101
    assert found.effective == pytest.approx(200**2 / (100**2 + 100))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_swapping_before_and_after_mirrors_the_interval(rows: list[tuple[bool, bool]]) -> None:
    before, after = np.array(rows, dtype=float).T
    low, high = change_of_scores(paired(before, after)).interval()
    assert change_of_scores(paired(after, before)).interval() == (pytest.approx(-high), pytest.approx(-low))
    assert low <= after.mean() - before.mean() <= high
    assert low < high


@pytest.mark.parametrize(
    "scores", [uneven(2), paired(np.r_[np.ones(50), np.zeros(50)], np.r_[np.ones(40), np.zeros(60)])]
)
def test_bounds_and_p_values_agree(scores: PairedScores) -> None:
    found = change_of_scores(scores)
    assert found.lower_bound(0.95) == pytest.approx(found.interval(0.90)[0])
    for level in (0.9, 0.95, 0.99):
        assert found.p_below(found.upper_bound(level)) == pytest.approx(1 - level, abs=1e-6)


def test_few_changed_clusters_reach_as_far_as_tangos_limits() -> None:
    before = np.ones(400)
    after = before.copy()
    before[:8] = 0
    after = 1 - before
    after[16:] = 1
    found = change_of_scores(paired(before, after, np.repeat(np.arange(100), 4)))  # two lost whole, two gained
    assert found.sparse
    assert found.interval()[0] == pytest.approx(tango_lower(2, 2, 100, z_quantile(0.975)))


def test_a_few_large_losses_widen_the_side_on_which_they_lie() -> None:
    before = np.full(400, 0.5)
    after = before - np.where(np.arange(400) % 8 == 0, 0.2, 0.002)
    found, back = change_of_scores(paired(before, after)), change_of_scores(paired(after, before))
    assert not found.sparse
    t = 1.966 * found.se  # two-sided, 399 degrees of freedom
    low, high = found.interval()
    assert found.estimate - low > 1.05 * t
    assert high - found.estimate == pytest.approx(t, rel=1e-3)
    assert back.interval() == (pytest.approx(-high), pytest.approx(-low))
    assert found.p_below(found.upper_bound(0.99)) == pytest.approx(0.01, abs=1e-6)


@given(st.floats(-0.9, 0.9), st.floats(-4, 4))
def test_the_transformation_by_the_skewness_has_an_inverse(skew: float, t: float) -> None:
    assert skewed(unskewed(t, skew), skew) == pytest.approx(t, abs=1e-4)


def test_no_change_in_clusters_is_as_uncertain_as_their_number() -> None:
    same = np.random.default_rng(0).integers(0, 2, 300).astype(float)
    found = change_of_scores(paired(same, same, np.repeat(np.arange(60), 5)))
    assert found.interval()[0] == pytest.approx(tango_lower(0, 0, 60, z_quantile(0.975)))
    assert found.p_worse == 1.0


def test_bits_per_byte_have_no_such_limit() -> None:
    before = np.linspace(1, 2, 60)
    after = before.copy()
    found: Change = change_of(PROSE, paired(before, after))
    assert (found.interval(), found.unchanged, found.enough) == ((0.0, 0.0), True, True)
    after[0] *= 1.001
    found = change_of(PROSE, paired(before, after))
    assert -0.0001 < found.interval()[0] < 0
    assert not found.unchanged


def test_a_relative_change_weighs_by_bytes() -> None:
    before, after, size = np.array([1.0, 2.0]), np.array([1.1, 2.0]), np.array([300.0, 100.0])
    found = change_of(PROSE, paired(before, after, weights=size))
    assert found.estimate == pytest.approx(-30 / 500)


def test_an_item_of_a_rare_class_weighs_what_it_weighs_in_macro_f1() -> None:
    labels = np.repeat(["a", "b", "c"], [6, 200, 200])
    same = np.full(406, 0.8)
    found = change_of(F1, paired(same, same, labels=labels))
    influence = 406 / (3 * 6)
    assert found.scale == pytest.approx(influence)
    assert found.interval()[0] == pytest.approx(influence * tango_lower(0, 0, 406, z_quantile(0.975)))
    assert found.lower_bound() < -0.10  # a third of a class of six could be gone, unseen


def test_one_cluster_knows_nothing() -> None:
    found = change_of_scores(paired(np.array([0.2, 0.4]), np.array([0.1, 0.4]), np.array([0, 0])))
    assert found.interval() == (-1.0, 1.0)


def test_refuses_what_cannot_be_a_ratio() -> None:
    with pytest.raises(DataError, match="no items"):
        ratio(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
    with pytest.raises(DataError, match="no weight"):
        ratio(np.ones(2), np.array([1.0, 0.0]), cluster_codes(["a", "b"]))
