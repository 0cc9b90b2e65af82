"""Scores of an arm and differences between arms, from item records."""

from __future__ import annotations

import numpy as np
import pytest

from keeptune.core.errors import DataError
from keeptune.core.records import ItemRecord
from keeptune.retention.binary import tango_lower, z_quantile
from keeptune.retention.intervals import mean_interval
from keeptune.retention.scores import difference, over_seeds, score


def records(
    scores: np.ndarray, clusters: np.ndarray | None = None, weight: np.ndarray | None = None
) -> list[ItemRecord]:
    return [
        ItemRecord(
            suite="s",
            id=f"i{i}",
            cluster=f"c{i if clusters is None else clusters[i]}",
            score=float(value),
            weight=1.0 if weight is None else float(weight[i]),
        )
        for i, value in enumerate(scores)
    ]


def test_binary_score_has_wilsons_interval() -> None:
    values = np.array([1.0] * 30 + [0.0] * 10)
    found = score(records(values), "accuracy", "binary")
    assert (found.mean, found.n, found.clusters, found.higher_is_better) == (0.75, 40, 40, True)
    assert (found.interval.low, found.interval.high) == mean_interval(values, np.arange(40))


def test_bits_per_byte_weigh_by_bytes_and_are_better_low() -> None:
    found = score(records(np.array([1.0, 2.0]), weight=np.array([300.0, 100.0])), "bits_per_byte", "bits_per_byte")
    assert found.mean == pytest.approx(1.25)
    assert not found.higher_is_better


def test_difference_is_a_minus_b_whatever_the_order() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, 100).astype(float), rng.integers(0, 2, 100).astype(float)
    mean, interval = difference(records(a)[::-1], records(b))
    assert mean == pytest.approx(a.mean() - b.mean())
    lost, gained, z = int((b > a).sum()), int((a > b).sum()), z_quantile(0.975)
    assert (interval.low, interval.high) == (tango_lower(lost, gained, 100, z), -tango_lower(gained, lost, 100, z))


def test_clustered_difference_is_by_cluster() -> None:
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(50), 4)
    a, b = rng.uniform(0.5, 1, 200), rng.uniform(0, 0.5, 200)
    mean, interval = difference(records(a, clusters), records(b, clusters))
    assert mean == pytest.approx((a - b).mean())
    assert interval.low < mean < interval.high


def test_scores_outside_zero_to_one_are_refused() -> None:
    with pytest.raises(DataError, match="outside 0 to 1"):
        score(records(np.array([40.0, 60.0])), "bleu", "mean")
    with pytest.raises(DataError, match="outside 0 to 1"):
        difference(records(np.array([40.0])), records(np.array([1.0])))


def test_a_gain_over_seeds_reaches_as_far_as_seeds_and_items_do() -> None:
    """Five trainings between 34 and 89: the interval of one checkpoint's items says nothing of the next one."""
    items = np.arange(100)
    runs = [records((items < right).astype(float)) for right in (85, 73, 67, 34, 89)]
    found = over_seeds(runs, records((items < 3).astype(float)))
    assert found is not None
    assert found.mean == pytest.approx(0.666)
    error = np.hypot(np.std([0.85, 0.73, 0.67, 0.34, 0.89], ddof=1) / np.sqrt(5), 0.03)
    assert (found.interval.high - found.mean) / 2.776 == pytest.approx(error, rel=0.05)
    alone = over_seeds(runs)
    assert alone is not None and alone.mean == pytest.approx(0.696)
    assert over_seeds(runs[:2]) is None


def test_intervals_over_seeds_hold_what_they_promise() -> None:
    """Seeds that differ and items that differ: the mean over many trainings on many items is inside in 19 of 20."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        hard = rng.random(60)
        skills = 0.6 + rng.normal(0, 0.1, 3)
        found = over_seeds([records((hard < skill).astype(float)) for skill in skills])
        assert found is not None
        held += found.interval.low <= 0.6 <= found.interval.high
    assert held >= 186
