"""Verdicts on retained suites: what was lost, whether that is shown, and where it lies."""

from __future__ import annotations

from typing import Literal

from keeptune.core.records.base import Record
from keeptune.core.records.items import Interval

Verdict = Literal["Not measurable", "Retained", "Harmed", "Worse", "Inconclusive"]
OPEN: tuple[Verdict, ...] = ("Worse", "Inconclusive")  # more items would settle them
UNSETTLED: tuple[Verdict, ...] = (*OPEN, "Not measurable")  # neither Retained nor Harmed


class SuiteVerdict(Record):
    """What happened to one retained suite under one arm. `change` = after - before, positive is better."""

    suite: str
    metric: str
    verdict: Verdict
    sentence: str  # the wording of the verdict, with its numbers
    n: int
    unasked: int = 0  # items that were left, because these n settled it
    clusters: int
    before: float  # in the metric's own unit (fraction, or bits per byte)
    after: float
    chance: float | None  # larger of 1/k and the majority share; None where there is none
    change: float  # fraction, or relative change for bits per byte
    interval: Interval | None  # two-sided 95 % of change
    lower_bound: float | None  # one-sided 95 % lower bound of change: Retained where it is above -margin
    upper_bound: float | None = None  # one-sided upper bound at Holm's level: Harmed where it is below -margin
    margin: float
    margin_share: float | None = None  # of what the base has above chance
    largest_margin: float | None = None  # half of what the base has above chance; None where there is no limit
    measured_on: Literal["validation", "judged"] = "validation"  # items that decided what the base can do
    p: float | None  # one-sided: is it worse than before?
    p_holm: float | None  # adjusted over the suites of this arm
    p_harm: float | None = None  # one-sided: is the loss larger than the margin? Adjusted over the suites of this arm
    gained: int | None  # items 0 -> 1
    lost: int | None  # items 1 -> 0
    flips: float | None  # share of items that changed
    smallest_decidable: float | None  # smallest margin that this many items can decide with power .8
    n_needed: int | None  # items that would settle the margin; only where Worse or Inconclusive
    small_loss: bool = False  # Retained, yet the two-sided interval excludes 0
    relative: bool = False  # change and margin are relative (bits per byte)
    documents: int | None = None  # of a text with few: what is said is about these alone


class Overall(Record):
    """All measurable suites of one arm together: was anything lost at all? In margins, mean over the suites."""

    suites: int
    change: float  # -1: on the mean suite, as much as its margin was lost
    interval: Interval
    p: float  # one-sided: is it worse than before?
    sentence: str


class LossGroup(Record):
    """Items of one suite that share a label or a cluster, and what became of them. A description, not a test."""

    by: Literal["label", "cluster"]
    name: str
    n: int
    lost: int  # items whose score fell
    gained: int  # items whose score rose
    change: float  # of the group's mean score; relative for bits per byte


class LostItem(Record):
    """An item whose score fell, with both answers; texts are cut."""

    id: str
    label: str | None
    cluster: str
    prompt: str
    references: tuple[str, ...]
    before: str
    after: str
    change: float  # of its score; relative for bits per byte


class SuiteLosses(Record):
    """Where the losses of one suite lie: the groups that lost most, and the items that lost most."""

    suite: str
    n: int
    lost: int
    gained: int
    relative: bool = False  # bits per byte
    groups: tuple[LossGroup, ...] = ()
    samples: tuple[LostItem, ...] = ()
