"""Items and scores: what a model answered, and means with their intervals."""

from __future__ import annotations

from keeptune.core.records.base import Record


class ItemRecord(Record):
    """One item of one suite answered by one arm (items/<suite>.jsonl)."""

    suite: str
    id: str
    cluster: str
    score: float  # higher is better; bits per byte of a text block are stored as they are, lower is better
    weight: float = 1.0  # bytes of a text block; 1 elsewhere
    label: str | None = None
    prediction: str | None = None
    prompt: str | None = None
    references: tuple[str, ...] = ()


class Interval(Record):
    """A two-sided confidence interval, in the unit of the number that it surrounds."""

    low: float
    high: float
    level: float = 0.95


class Score(Record):
    """A mean over items with its interval."""

    metric: str
    mean: float
    interval: Interval
    n: int  # items
    clusters: int
    higher_is_better: bool = True


class Estimate(Record):
    """A number with its interval."""

    mean: float
    interval: Interval
