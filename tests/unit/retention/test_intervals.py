"""Intervals on arrays: who computes what, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from keeptune.core.errors import DataError
from keeptune.retention.intervals import mean_interval, seed_t_interval
from keeptune.retention.pairs import flip_counts


def test_flips_have_a_direction() -> None:
    assert flip_counts([1, 1, 1, 0, 0], [0, 0, 1, 1, 0]) == (2, 1)


def test_refuses_fractions_and_unequal_lengths() -> None:
    with pytest.raises(DataError, match="kind as 'mean'"):
        flip_counts([0.5, 1], [0, 1])
    with pytest.raises(DataError, match="one score per item"):
        flip_counts([1, 1], [0, 1, 1])
    with pytest.raises(DataError, match="one score per item"):
        flip_counts([], [])


def test_mean_of_binary_items_is_wilsons() -> None:
    scores = np.array([1.0] * 7 + [0.0] * 13)
    expected = binomtest(7, 20).proportion_ci(0.95, method="wilson")
    assert mean_interval(scores, np.arange(20)) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_clustering_widens() -> None:
    scores = np.repeat(np.random.default_rng(0).integers(0, 2, 60), 10).astype(float)
    alone, together = mean_interval(scores, np.arange(600)), mean_interval(scores, np.repeat(np.arange(60), 10))
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_scores_still_have_a_width(value: float) -> None:
    low, high = mean_interval(np.full(120, value), np.repeat(np.arange(40), 3))
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.05


def test_one_cluster_knows_nothing() -> None:
    assert mean_interval([0.2, 0.4], ["a", "a"]) == (0.0, 1.0)
    assert mean_interval([2.0], ["a"], bounded=False) == (0.0, 4.0)


def test_bits_per_byte_may_exceed_one_and_weigh_by_bytes() -> None:
    rng = np.random.default_rng(1)
    bits, size = rng.normal(1.5, 0.2, 100), rng.integers(100, 1000, 100).astype(float)
    low, high = mean_interval(bits, np.arange(100), weights=size, bounded=False)
    assert 1.4 < low < float((bits * size).sum() / size.sum()) < high < 1.6


def test_seeds_use_students_t_from_three_on() -> None:
    assert seed_t_interval([0.01, 0.02]) is None
    found = seed_t_interval([0.01, 0.02, 0.06])
    expected = ttest_1samp([0.01, 0.02, 0.06], 0).confidence_interval(0.95)
    assert found == (pytest.approx(expected.low), pytest.approx(expected.high))
