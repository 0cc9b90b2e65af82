"""What a check of a law comes to: parts with a number, its bounds, a threshold that was set before, and an outcome.

Bounds are one-sided 95 % bounds on either side (the ends of a two-sided 90 % interval), because every law says which
way a number has to go. A part holds where the whole interval is on the right side of its threshold (a law holds where
all its parts do, which needs no correction), fails where all of a wider interval is on the wrong side (a law fails
where one part does, which needs one), and cannot tell otherwise, nor where nothing could be measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from keeptune.core.records import Record
from keeptune.core.units import points
from keeptune.retention.intervals import seed_t_interval

Outcome = Literal["holds", "fails", "cannot tell"]
Unit = Literal["points", "margins", "number"]
LEVEL = 0.90  # two-sided
MOST_PARTS = 5  # of a law: one part that fails makes the law fail, so that a part fails at a level that allows for them
STRICT = 1 - (1 - LEVEL) / MOST_PARTS


class Bounds(NamedTuple):
    """A mean with its one-sided 95 % bounds; a count or a choice has none, then all are the same.

    The outer bounds are those that a part has to lie beyond to fail (Bonferroni over the parts of a law).
    """

    mean: float
    low: float
    high: float
    outer_low: float
    outer_high: float

    @classmethod
    def over_seeds(cls, values: Sequence[float]) -> Bounds | None:
        """Student's t over one value per seed; None with fewer than three."""
        found, outer = seed_t_interval(values, LEVEL), seed_t_interval(values, STRICT)
        return cls(sum(values) / len(values), *found, *outer) if found and outer else None

    @classmethod
    def exactly(cls, value: float) -> Bounds:
        """A number that is not a sample of anything."""
        return cls(value, value, value, value, value)


class Part(Record):
    """One claim of a law, measured."""

    claim: str
    statistic: str  # what the number is, and over what
    mean: float | None
    low: float | None
    high: float | None
    unit: Unit
    threshold: str
    outcome: Outcome
    found: str = ""  # what there is to say beside the number

    @property
    def measured(self) -> str:
        """'+3.1 points (1.2 to 5.0)'."""
        if self.mean is None or self.low is None or self.high is None:
            return "not measured"
        mean, low, high = (self._number(value) for value in (self.mean, self.low, self.high))
        unit = "" if self.unit == "number" else f" {self.unit}"
        return f"{mean}{unit}" if self.low == self.mean == self.high else f"{mean}{unit} ({low} to {high})"

    def _number(self, value: float) -> str:
        if self.unit == "points":
            return points(value, signed=True)
        return (f"{value:+.1f}" if self.unit == "margins" else f"{value:.3g}").replace("-", "−")


class Law(Record):
    """A law, its parts, and what they rest on."""

    number: int
    title: str
    statement: str
    parts: tuple[Part, ...]
    rests_on: str  # recipes, seeds, items

    @property
    def outcome(self) -> Outcome:
        """Holds where every part does; fails where one does."""
        outcomes = {part.outcome for part in self.parts}
        return "fails" if "fails" in outcomes else "holds" if outcomes == {"holds"} else "cannot tell"


class Results(Record):
    """All laws of one run, and what made it."""

    command: str
    date: str
    machine: str
    versions: dict[str, str]
    model: str
    wall_seconds: float  # of all runs, as their summaries have it
    laws: tuple[Law, ...]


def part(
    claim: str,
    statistic: str,
    bounds: Bounds | None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    unit: Unit = "points",
    found: str = "",
) -> Part:
    """A part with the outcome that follows from its bounds: within [at_least, at_most] throughout, or nowhere.

    Where zero is the threshold and nothing differs in any seed, as when everything scores 0, nothing is told.
    """
    lower = -float("inf") if at_least is None else at_least
    upper = float("inf") if at_most is None else at_most
    outcome: Outcome = "cannot tell"
    if bounds is not None and not any(bounds) and 0 in (at_least, at_most):
        found = f"no difference at all{'; ' + found if found else ''}"
    elif bounds is not None and lower <= bounds.low and bounds.high <= upper:
        outcome = "holds"
    elif bounds is not None and (bounds.outer_high < lower or bounds.outer_low > upper):
        outcome = "fails"
    return Part(
        claim=claim,
        statistic=statistic,
        mean=bounds.mean if bounds else None,
        low=bounds.low if bounds else None,
        high=bounds.high if bounds else None,
        unit=unit,
        threshold=_threshold(at_least, at_most, unit),
        outcome=outcome,
        found=found,
    )


def undecided(drawn: Part, why: str) -> Part:
    """The same part where its number says nothing about the claim."""
    return drawn.model_copy(update={"outcome": "cannot tell", "found": why})


def seeds_in_words(seeds: Iterable[int]) -> str:
    """'5 seeds'."""
    count = len(set(seeds))
    return f"{count} seed{'s' if count != 1 else ''}"


def differences(a: Sequence[float], b: Sequence[float]) -> Bounds | None:
    """Of `a` minus `b`, paired."""
    return Bounds.over_seeds([x - y for x, y in zip(a, b, strict=True)])


def _threshold(at_least: float | None, at_most: float | None, unit: Unit) -> str:
    def shown(value: float) -> str:
        if unit == "points":
            return f"{points(value)} points"
        return f"{value:.3g}{' margins' if unit == 'margins' else ''}".replace("-", "−")

    if at_least is not None and at_most is not None:
        return f"{shown(at_least)} to {shown(at_most)}"
    return f"at least {shown(at_least)}" if at_least is not None else f"at most {shown(at_most or 0.0)}"
