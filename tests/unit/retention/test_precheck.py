"""Chance levels and the warning before training."""

from __future__ import annotations

import pytest

from keeptune.core.errors import DataError
from keeptune.retention.pairs import Suite
from keeptune.retention.precheck import chance_level, margin_warning

BINARY = Suite("addition", "accuracy", "binary", 0.02, 0.25)


def test_chance_is_the_larger_of_uniform_and_majority() -> None:
    assert chance_level(["a", "b", "c", "d"], 4) == 0.25
    assert chance_level(["a", "a", "a", "b"], 4) == 0.75
    assert chance_level(["a", "b", "c", "d"], [2, 4, 2, 4]) == pytest.approx(0.375)
    with pytest.raises(DataError):
        chance_level([], 4)


def test_enough_items_need_no_warning() -> None:
    assert margin_warning(BINARY, 1546) is None
    assert margin_warning(BINARY, 1545) is not None


def test_warning_names_the_margin_that_the_items_decide() -> None:
    text = margin_warning(BINARY, 400)
    assert text is not None
    assert "400 items can decide a margin of 3.9 pt at best" in text
    assert "1,546 items would decide 2 pt" in text
    assert "10 % of the answers change" in text


def test_clusters_count_once() -> None:
    text = margin_warning(BINARY, 4000, clusters=200)
    assert text is not None
    assert "200 clusters can decide a margin of 5.6 pt" in text


def test_fewer_than_thirty_clusters_decide_nothing() -> None:
    prose = Suite("prose", "bits_per_byte", "bits_per_byte", 0.01)
    text = margin_warning(prose, 12)
    assert text is not None
    assert "12 clusters can decide no margin; at least 30" in text
    assert margin_warning(prose, 40) is None
    assert "no margin" in str(margin_warning(BINARY, 1000, clusters=20))


def test_graded_scores_are_planned_with_their_own_spread() -> None:
    rouge = Suite("dialogsum", "rougeL", "mean", 0.02)
    assert margin_warning(rouge, 400) is None
    assert "15 pt" in str(margin_warning(rouge, 100))
