"""Pairing by id, and the mismatches that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import ItemRecord
from keeptune.retention.pairs import PairedScores, Suite, check_bounded, pair


def item(ident: str, score: float, cluster: str | None = None, weight: float = 1.0) -> ItemRecord:
    return ItemRecord(suite="s", id=ident, cluster=cluster or ident, score=score, weight=weight)


def test_items_meet_by_id_in_the_order_of_before() -> None:
    found = pair([item("b", 1), item("a", 0)], [item("a", 0.5), item("b", 0.25)])
    assert found.ids.tolist() == ["b", "a"]
    assert found.before.tolist() == [1, 0]
    assert found.after.tolist() == [0.25, 0.5]
    assert (found.n, found.n_clusters) == (2, 2)


def test_clusters_are_counted() -> None:
    rows = [item("a", 1, "x"), item("b", 1, "x"), item("c", 1, "y")]
    found = pair(rows, rows)
    assert found.n_clusters == 2
    assert found.codes.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([], [], "no items before"),
        ([item("a", 1)], [], "no items after"),
        ([item("a", 1)], [item("b", 1)], "2 items are not on both sides, the first is 'a'"),
        ([item("a", 1), item("a", 0)], [item("a", 1)], "'a' occurs twice before"),
        ([item("a", 1, "x")], [item("a", 1, "y")], "cluster 'x'"),
        ([item("a", 1, weight=10)], [item("a", 1, weight=11)], "weight 10 before"),
        ([item("a", float("nan"))], [item("a", 1)], "finite"),
        ([item("a", 1, weight=0)], [item("a", 1, weight=0)], "weight is not positive"),
    ],
)
def test_mismatches_are_refused(before: list[ItemRecord], after: list[ItemRecord], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        pair(before, after)
    assert "->" in str(caught.value)


def test_arrays_of_different_length_are_refused() -> None:
    two, three = np.zeros(2), np.zeros(3)
    with pytest.raises(DataError, match="one entry per item"):
        PairedScores(np.arange(2), np.arange(2), two, three, np.ones(2))


def test_percentages_are_refused() -> None:
    with pytest.raises(DataError, match="bleu: the mean score after is 41"):
        check_bounded(pair([item("a", 1), item("b", 0.8)], [item("a", 1), item("b", 81)]), "bleu")


def test_a_share_of_a_corpus_figure_may_be_outside() -> None:
    check_bounded(pair([item("a", 1.4), item("b", -0.2)], [item("a", 1.2), item("b", 0.1)]), "macro_f1")


@pytest.mark.parametrize("margin", [0.0, -0.02, 2.0])
def test_a_margin_is_a_fraction(margin: float) -> None:
    with pytest.raises(ConfigError, match="suite 'qa'"):
        Suite("qa", "accuracy", "binary", margin)
