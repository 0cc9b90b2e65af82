"""Mixtures: sizes, weights, order per epoch."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from keeptune.core.errors import ConfigError
from keeptune.data.mixture import Mixture

SETS = {"small": list(range(10)), "large": list(range(100, 190))}


def test_proportional_is_every_row_once_in_another_order_each_epoch() -> None:
    mixture = Mixture(SETS)
    first, second = mixture.epoch(1, 0), mixture.epoch(1, 1)
    assert len(mixture) == len(first) == 100
    assert sorted(row for _, row in first) == sorted([*SETS["small"], *SETS["large"]])
    assert first != second and sorted(first) == sorted(second)
    assert first == mixture.epoch(1, 0) and first != mixture.epoch(2, 0)


def test_the_order_mixes_the_sets() -> None:
    names = [name for name, _ in Mixture({"a": list(range(50)), "b": list(range(50))}).epoch(0, 0)]
    assert 30 < sum(one != other for one, other in pairwise(names)) < 70


def test_weights_fill_the_places_of_an_epoch() -> None:
    mixture = Mixture(SETS, {"small": 1, "large": 3})
    assert mixture.counts() == {"small": 25, "large": 75}
    assert Counter(name for name, _ in mixture.epoch(0, 0)) == {"small": 25, "large": 75}


def test_counts_add_up() -> None:
    sets = {"a": [0] * 5, "b": [0] * 3, "c": [0] * 2}
    counts = Mixture(sets, {"a": 1, "b": 1, "c": 1}).counts()
    assert sum(counts.values()) == 10 and max(counts.values()) - min(counts.values()) == 1


def test_no_row_comes_again_before_all_others_came() -> None:
    mixture = Mixture(SETS, {"small": 1, "large": 3})
    small: Counter[int] = Counter()
    for epoch in range(4):  # 100 places for 10 rows
        small.update(row for name, row in mixture.epoch(0, epoch) if name == "small")
    assert set(small.values()) == {10}
    large = {row for epoch in range(2) for name, row in mixture.epoch(0, epoch) if name == "large"}
    assert large == set(SETS["large"])


@pytest.mark.parametrize(
    ("sets", "weights", "message"),
    [
        ({"a": [1], "b": []}, None, "without rows: b"),
        ({}, None, "without rows"),
        ({"a": [1]}, {"b": 1.0}, "weights for b, but the sets are a"),
        ({"a": [1]}, {"a": 0.0}, "above 0"),
    ],
)
def test_refused(sets: dict[str, list[int]], weights: dict[str, float] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(sets, weights)
