"""Suites and the paired scores of one suite: which items, which clusters, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import ItemRecord
from keeptune.retention.clusters import FloatArray, IntArray, cluster_codes

Kind = Literal["binary", "mean", "bits_per_byte"]


@dataclass(frozen=True)
class Suite:
    """A skill that must not get worse.

    Attributes:
        name: as it stands in sentences and tables.
        metric: name of the metric behind the item scores.
        kind: 'binary' (0 or 1), 'mean' (in [0, 1]) or 'bits_per_byte' (positive, lower is better).
        margin: the loss that is still acceptable; a fraction (0.02 is 2 points), relative for bits per byte. None where
            the recipe names none: then a share of what the base has above chance (`skill`).
        chance: score of guessing (`chance_level`), of bits per byte that of a model that knows the bytes' frequencies
            alone; None where guessing scores nothing.
        documents: of a free text whose clusters are stretches of few documents, their number: verdicts are about these.
    """

    name: str
    metric: str
    kind: Kind
    margin: float | None = None
    chance: float | None = None
    documents: int | None = None

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 < self.margin < 1:
            raise ConfigError(
                f"margin {self.margin} of suite '{self.name}' is not between 0 and 1",
                remedy="give a fraction: 0.02 for 2 points, or for 2 % of the bits per byte",
            )

    @property
    def required_margin(self) -> float:
        """The margin, once it is known.

        Raises:
            ValueError: the recipe names none and the base was not looked at yet.
        """
        if self.margin is None:
            raise ValueError(f"the margin of '{self.name}' is not known before the base is scored")
        return self.margin

    @property
    def relative(self) -> bool:
        """Whether changes and margin are relative to the score before."""
        return self.kind == "bits_per_byte"


@dataclass(frozen=True, eq=False)
class PairedScores:
    """Scores of the same items before and after, all arrays [N] in the same order."""

    ids: NDArray[Any]
    clusters: NDArray[Any]
    before: FloatArray
    after: FloatArray
    weights: FloatArray  # bytes of a text block; 1 elsewhere
    labels: NDArray[Any] | None = None  # the right answer, or the item's class

    def __post_init__(self) -> None:
        shapes = {a.shape for a in (self.ids, self.clusters, self.before, self.after, self.weights)}
        if shapes != {(len(self.ids),)} or not len(self.ids):
            raise DataError(f"paired arrays of shapes {sorted(shapes)}", remedy="give one entry per item in each")
        if not (np.isfinite(self.before).all() and np.isfinite(self.after).all() and np.isfinite(self.weights).all()):
            raise DataError("an item's score is not a finite number", remedy="look for NaN in the item records")
        if not (self.weights > 0).all():
            raise DataError("an item's weight is not positive", remedy="leave out empty texts")

    @staticmethod
    def of(before: FloatArray, after: FloatArray, clusters: ArrayLike | None = None) -> PairedScores:
        """Scores of items of equal weight in one order; without ``clusters`` each is a cluster of its own."""
        index: NDArray[Any] = np.arange(len(before))
        return PairedScores(
            index, index if clusters is None else np.asarray(clusters), before, after, np.ones(len(before))
        )

    def mean(self, values: FloatArray) -> float:
        """Weighted mean of values of the items, [N]."""
        return float(values @ self.weights / self.weights.sum())

    @cached_property
    def codes(self) -> IntArray:
        """Clusters numbered 0..K-1, [N]."""
        return cluster_codes(self.clusters)

    @property
    def n(self) -> int:
        """The number of items."""
        return len(self.ids)

    @cached_property
    def n_clusters(self) -> int:
        """The number of clusters."""
        return int(self.codes.max()) + 1


def pair(before: Sequence[ItemRecord], after: Sequence[ItemRecord]) -> PairedScores:
    """Match two lists of records by item id, in the order of `before`.

    Raises:
        DataError: no items, an id twice, ids that only one side has, or a pair that differs in cluster or weight.
    """
    old, new = _by_id(before, "before"), _by_id(after, "after")
    if old.keys() != new.keys():
        lone = sorted(old.keys() ^ new.keys())
        raise DataError(
            f"{len(lone)} items are not on both sides, the first is '{lone[0]}' ({len(old)} before, {len(new)} after)",
            remedy="score the same items, with the same prompts, before and after",
        )
    for ident, record in old.items():
        other = new[ident]
        if (record.cluster, record.weight) != (other.cluster, other.weight):
            raise DataError(
                f"item '{ident}' has cluster '{record.cluster}' and weight {record.weight:g} before,"
                f" '{other.cluster}' and {other.weight:g} after",
                remedy="score both sides from the same data file",
            )
    rows = [(record, new[ident]) for ident, record in old.items()]
    return PairedScores(
        ids=np.array([r.id for r, _ in rows], dtype=object),
        clusters=np.array([r.cluster for r, _ in rows], dtype=object),
        before=np.array([r.score for r, _ in rows], dtype=np.float64),
        after=np.array([r.score for _, r in rows], dtype=np.float64),
        weights=np.array([r.weight for r, _ in rows], dtype=np.float64),
        labels=np.array([r.label or (r.references[0] if r.references else "") for r, _ in rows], dtype=object),
    )


def is_binary(scores: ArrayLike) -> bool:
    """Whether every score is exactly 0 or 1."""
    values = np.asarray(scores, dtype=np.float64)
    return bool(np.all((values == 0) | (values == 1)))


def flip_counts(before: ArrayLike, after: ArrayLike) -> tuple[int, int]:
    """(lost, gained): how many of the binary items [N] went from 1 to 0 and from 0 to 1.

    Raises:
        DataError: arrays of different length, empty, or with values other than 0 and 1.
    """
    old, new = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if old.shape != new.shape or old.ndim != 1 or not old.size:
        raise DataError(
            f"paired scores of shapes {old.shape} and {new.shape}", remedy="give one score per item, before and after"
        )
    if not (is_binary(old) and is_binary(new)):
        raise DataError("a binary score is neither 0 nor 1", remedy="declare the suite's kind as 'mean'")
    return int(np.count_nonzero(old > new)), int(np.count_nonzero(new > old))


def check_bounded(scores: PairedScores, name: str) -> None:
    """Refuse scores whose mean is outside [0, 1], percentages for instance.

    A single item may be outside: its share of a linearised corpus figure (macro-F1, BLEU) may be.

    Raises:
        DataError: with the mean outside.
    """
    for side, values in (("before", scores.before), ("after", scores.after)):
        mean = scores.mean(values)
        if not -1e-9 <= mean <= 1 + 1e-9:
            raise DataError(
                f"{name}: the mean score {side} is {mean:g}, outside 0 to 1",
                remedy="divide percentages by 100; declare bits per byte as kind 'bits_per_byte'",
            )


def _by_id(records: Sequence[ItemRecord], side: str) -> dict[str, ItemRecord]:
    table = {record.id: record for record in records}
    if not table:
        raise DataError(f"no items {side}", remedy="give the suite at least one test item")
    if len(table) < len(records):
        twice = Counter(record.id for record in records).most_common(1)[0][0]
        raise DataError(f"item '{twice}' occurs twice {side}", remedy="give every item an id of its own")
    return table
