"""The cluster bootstrap against a loop in plain Python, theory, and its own rules for few clusters and few changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from keeptune.core.errors import DataError
from keeptune.retention.binary import tango_lower, z_quantile
from keeptune.retention.bootstrap import (
    Bootstrap,
    cluster_bootstrap,
    cluster_codes,
    multiplicities,
    ratio_bootstrap,
    relative_bootstrap,
)


def clustered(rng: np.random.Generator, k: int = 60, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    codes = np.repeat(np.arange(k), size)
    return np.clip(rng.normal(0, 0.1, k)[codes] + rng.normal(0, 0.05, k * size), -1, 1), codes


def plain_studentised(num: np.ndarray, den: np.ndarray, counts: np.ndarray) -> float:
    """t* of one resample, by writing the drawn clusters out."""
    drawn = np.repeat(np.arange(len(num)), counts.astype(int))
    n, d = num[drawn], den[drawn]
    theta = n.sum() / d.sum()
    k = len(drawn)
    se = math.sqrt(k / (k - 1) * ((n - theta * d) ** 2).sum()) / d.sum()
    return (theta - num.sum() / den.sum()) / se


def test_matrix_form_equals_drawn_clusters() -> None:
    rng = np.random.default_rng(0)
    num, den = rng.normal(0.1, 1, 40), rng.uniform(1, 3, 40)
    boot = ratio_bootstrap(num, den, np.arange(40), (-1.0, 1.0), resamples=200, seed=5)
    expected = sorted(plain_studentised(num, den, row) for part in multiplicities(40, 200, 5) for row in part)
    np.testing.assert_allclose(boot.t, expected, rtol=1e-8)


def test_multiplicities_are_drawn_with_replacement() -> None:
    counts = np.concatenate(list(multiplicities(50, 30_000, 1)))
    assert counts.shape == (30_000, 50)
    assert (counts.sum(axis=1) == 50).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.04)
    assert counts.var() == pytest.approx(1 - 1 / 50, abs=0.02)
    assert not np.array_equal(counts[:20_000], counts[10_000:])  # chunks differ


def test_se_of_equal_clusters_is_that_of_their_means() -> None:
    difference, codes = clustered(np.random.default_rng(1))
    means = difference.reshape(60, 4).mean(axis=1)
    boot = cluster_bootstrap(difference, codes)
    assert boot.estimate == pytest.approx(means.mean())
    assert boot.se == pytest.approx(means.std(ddof=1) / math.sqrt(60))
    assert boot.effective == pytest.approx(60)


def test_normal_data_give_students_interval() -> None:
    values = np.random.default_rng(2).normal(0, 0.1, 400)
    boot = cluster_bootstrap(values, np.arange(400), resamples=40_000)
    half = student.ppf(0.975, 399) * boot.se
    low, high = boot.interval()
    assert low == pytest.approx(boot.estimate - half, abs=0.05 * half)
    assert high == pytest.approx(boot.estimate + half, abs=0.05 * half)
    assert boot.p_worse == pytest.approx(student.cdf(boot.estimate / boot.se, 399), abs=0.01)
    assert boot.interval(0.90)[0] == boot.lower_bound(0.95)


def test_same_seed_same_numbers() -> None:
    difference, codes = clustered(np.random.default_rng(3))
    assert cluster_bootstrap(difference, codes).interval() == cluster_bootstrap(difference, codes).interval()
    assert cluster_bootstrap(difference, codes).interval() != cluster_bootstrap(difference, codes, seed=1).interval()


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_order_of_items_is_irrelevant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    difference, codes = clustered(rng)
    order = rng.permutation(len(codes))
    one, other = (
        cluster_bootstrap(d, c, resamples=500) for d, c in [(difference, codes), (difference[order], codes[order])]
    )
    np.testing.assert_allclose(one.interval(), other.interval(), atol=1e-12)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_swapping_before_and_after_mirrors_the_interval(seed: int) -> None:
    difference, codes = clustered(np.random.default_rng(seed))
    boot, mirrored = (cluster_bootstrap(d, codes, resamples=499) for d in (difference, -difference))
    low, high = boot.interval()
    assert mirrored.interval() == (pytest.approx(-high), pytest.approx(-low))
    assert low < boot.estimate < high


def test_relative_change_of_bits_weighs_blocks_by_bytes() -> None:
    rng = np.random.default_rng(4)
    size, before = rng.integers(500, 2000, 80).astype(float), rng.uniform(0.8, 1.6, 80)
    after = before * rng.normal(1.02, 0.01, 80)
    boot = relative_bootstrap(before, after, size, np.arange(80))
    total_before, total_after = (before * size).sum(), (after * size).sum()
    assert boot.estimate == pytest.approx(-(total_after - total_before) / total_before)
    low, high = boot.interval()
    assert low < boot.estimate < high < 0  # more bits: worse
    assert boot.p_worse < 0.001


def test_few_clusters_use_students_t() -> None:
    values = np.random.default_rng(5).normal(0, 0.1, 12)
    boot = cluster_bootstrap(values, np.arange(12))
    assert not len(boot.t)
    assert boot.interval()[0] == pytest.approx(boot.estimate - student.ppf(0.975, 11) * boot.se)
    assert boot.p_worse == pytest.approx(student.cdf(boot.estimate / boot.se, 11))


def test_one_cluster_knows_nothing() -> None:
    boot = cluster_bootstrap([0.5, 0.4], ["a", "a"])
    assert boot.interval() == (-1.0, 1.0)
    assert boot.lower_bound() == -1.0
    assert boot.p_worse == 1.0


@pytest.mark.parametrize("changed", [0, 1, 5, 9])
def test_sparse_changes_contain_the_score_interval(changed: int) -> None:
    difference = np.zeros(200)
    difference[:changed] = -1
    boot = cluster_bootstrap(difference, np.arange(200))
    assert boot.sparse
    assert boot.lower_bound() <= tango_lower(changed, 0, 200, z_quantile(0.95))
    assert boot.interval()[1] >= -tango_lower(0, changed, 200, z_quantile(0.975))
    assert boot.p_worse >= 0.5**changed


def test_a_constant_change_still_has_a_width() -> None:
    low, high = cluster_bootstrap(np.full(50, -0.1), np.arange(50)).interval()
    assert low < -0.1 <= high


def unequal(shares: list[float]) -> Bootstrap:
    return cluster_bootstrap(np.zeros(len(shares)), np.arange(len(shares)), shares)


def test_unequal_clusters_count_as_fewer() -> None:
    even, uneven = unequal([1.0] * 40), unequal([100.0] + [1.0] * 39)
    assert uneven.effective < 3
    assert uneven.lower_bound() < 5 * even.lower_bound()


def test_cluster_names_of_any_type() -> None:
    assert cluster_codes(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert cluster_codes(np.array(["b", "a", "b"], dtype=object)).tolist() == [1, 0, 1]


def test_refuses_nothing_and_weightless() -> None:
    with pytest.raises(DataError, match="no items"):
        cluster_bootstrap([], [])
    with pytest.raises(DataError, match="no weight"):
        cluster_bootstrap([0.1, 0.2], [0, 1], [1.0, 0.0])
