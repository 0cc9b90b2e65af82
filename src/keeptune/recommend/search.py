"""The search for an arm that keeps: which training comes next, given all that was tried. Pure, and without state.

Wanted is the best target score among models whose every suite loses no more than its margin. A *ladder* is a method
with one remedy of which the dose varies: loss falls with dose along nearly every ladder, so its feasible end begins at
one dose, the boundary, and the best model of the ladder is near it. Every ladder has a *promise*: the target score at
which its models reach the margin, read between the model just within and the one just beyond it. The most promising
ladder is narrowed towards its boundary; as soon as two of its doses are known it opens further ladders, each of which
adds one thing: another remedy, more epochs, or both. They begin at the boundary of the one that opened them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from keeptune.recommend.pick import NOISE, Candidate, gap, pick

STEP = 10.0  # largest factor between a dose and the next beyond it
LEAST = 1.5  # smallest such factor
INSIDE = 0.2  # share of a bracket that the next dose keeps away from both ends
SETTLED = 1.15  # a boundary between two doses with a smaller ratio is known well enough
GENERATIONS = 3  # ladders that open ladders


@dataclass(frozen=True)
class DoseRange:
    """Doses of a remedy that a search tries: positive numbers, spread over their logarithms."""

    first: float
    low: float
    high: float
    share: bool = False  # a share of the trained tokens: spread over its log odds instead

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.first <= self.high or (self.share and self.high >= 1):
            raise ValueError(f"no range of doses: {self.low:g} <= {self.first:g} <= {self.high:g}")

    def place(self, dose: float) -> float:
        """Where a dose lies on the scale."""
        return math.log(dose / (1 - dose) if self.share else dose)

    def dose(self, place: float) -> float:
        """The dose at a place, two digits of it, within the range."""
        value = math.exp(place)
        value = value / (1 + value) if self.share else value
        return float(f"{min(max(value, self.low), self.high):.2g}")


@dataclass(frozen=True)
class Setting:
    """What one training is: all that a search decides."""

    method: str
    lr: float
    doses: tuple[tuple[str, float], ...] = ()  # remedies and their doses, in alphabetical order
    longer: int = 1  # times the recipe's epochs

    def dose(self, remedy: str) -> float:
        """Of a remedy; 0 without it."""
        return dict(self.doses).get(remedy, 0.0)

    def with_dose(self, remedy: str, dose: float) -> Setting:
        """The setting with another dose of a remedy; 0 leaves it out."""
        doses = {**dict(self.doses), remedy: dose}
        return replace(self, doses=tuple(sorted((name, dose) for name, dose in doses.items() if dose)))


@dataclass(frozen=True)
class Seen:
    """A model on validation items."""

    target: float  # mean score
    worst: float  # largest loss over the suites, in margins, with noise allowed for: within the margins up to 1


@dataclass(frozen=True)
class Tried:
    """A training and the models it gave: its own last, before it those between the base and its own."""

    setting: Setting
    models: tuple[Seen, ...]

    @property
    def own(self) -> Seen:
        """The training's own model."""
        return self.models[-1]


@dataclass(frozen=True)
class Space:
    """What a search may try."""

    starts: Sequence[Setting]  # plain trainings that were done: every method at its chosen rate
    remedies: Mapping[str, Mapping[str, DoseRange]]  # by method, in the order in which they are tried
    longer: int = 1  # most times the recipe's epochs
    base: float = 0.0  # target score of the base


@dataclass(frozen=True)
class Ladder:
    """A setting of which one remedy's dose varies."""

    root: Setting  # without that remedy
    remedy: str
    doses: DoseRange
    first: float  # dose that it begins with

    @property
    def key(self) -> tuple[Setting, str]:
        """What makes it the same ladder, wherever it began."""
        return self.root, self.remedy

    def rungs(self, tried: Sequence[Tried]) -> list[tuple[float, Tried]]:
        """(dose, training) by rising dose; without those of dose 0."""
        mine = [(each.setting.dose(self.remedy), each) for each in tried]
        return sorted(((d, t) for d, t in mine if d and t.setting.with_dose(self.remedy, 0) == self.root), key=_dose)

    def promise(self, tried: Sequence[Tried], base: float) -> float:
        """Target score where the ladder's models reach the margin; the base and dose 0 belong to it."""
        own = [each for _, each in self.rungs(tried)] + [each for each in tried if each.setting == self.root]
        return at_the_margin([seen for each in own for seen in each.models], base)

    def next(self, tried: Sequence[Tried]) -> float | None:
        """The dose to try next; None where the boundary is known, or lies beyond the range."""
        rungs = [(self.doses.place(dose), each.own.worst) for dose, each in self.rungs(tried)]
        if not rungs:
            return self.first
        dose = self.doses.dose(self._boundary(rungs))
        known = [each for each, _ in self.rungs(tried)]
        return None if any(max(dose, other) < SETTLED * min(dose, other) for other in known) else dose

    def boundary(self, tried: Sequence[Tried]) -> float:
        """The dose at which the worst loss is expected to reach the margin."""
        rungs = [(self.doses.place(dose), each.own.worst) for dose, each in self.rungs(tried)]
        return self.doses.dose(self._boundary(rungs)) if rungs else self.first

    def _boundary(self, rungs: Sequence[tuple[float, float]]) -> float:
        """Place where log loss is expected to be 0: inside the bracket, or a step beyond the last rung."""
        beyond = [rung for rung in rungs if rung[1] > 1]
        low = beyond[-1] if beyond else None
        high = next((rung for rung in rungs if rung[1] <= 1 and (low is None or rung[0] > low[0])), None)
        if low is not None and high is not None:
            width = high[0] - low[0]
            fall = _log(low[1]) - _log(high[1])
            return low[0] + width * min(max(_log(low[1]) / fall, INSIDE), 1 - INSIDE)
        place, worst = low or high or rungs[0]
        step = min(max(abs(_log(worst)), math.log(LEAST)), math.log(STEP))  # as if loss fell with 1 / dose
        return place + step if low is not None else place - step


def _dose(rung: tuple[float, Tried]) -> float:
    return rung[0]


def _log(worst: float) -> float:
    """Log of a loss in margins; a gain counts as a small loss."""
    return math.log(max(worst, 1 / STEP))


def at_the_margin(models: Sequence[Seen], base: float) -> float:
    """Target score at a worst loss of one margin: between the best models within it and those beyond it.

    Args:
        models: with any losses.
        base: target score of the base, which loses nothing.
    """
    within = [Seen(base, 0.0), *(seen for seen in models if seen.worst <= 1)]
    best = max(within, key=lambda seen: (seen.target, -seen.worst))
    beyond = [seen for seen in models if seen.worst > 1 and seen.target > best.target]
    slopes = [(seen.target - best.target) / (seen.worst - max(best.worst, 0.0)) for seen in beyond]
    return best.target + max(slopes, default=0.0) * (1 - max(best.worst, 0.0))


def ask(tried: Sequence[Tried], space: Space) -> list[Setting]:
    """The trainings that come next, the most wanted first; none where every boundary is known.

    Args:
        tried: everything so far, plain trainings and other arms of the study included, in any order.
        space: what may be tried.

    Returns:
        Trainings that do not wait for each other, none of which was tried.
    """
    ladders = opened(tried, space)
    done = {each.setting for each in tried}
    fresh = [each.root.with_dose(each.remedy, each.first) for each in ladders if not each.rungs(tried)]
    if fresh:
        return [setting for setting in dict.fromkeys(fresh) if setting not in done]
    for ladder in ranked(ladders, tried, space.base):
        dose = ladder.next(tried)
        if dose is not None and (setting := ladder.root.with_dose(ladder.remedy, dose)) not in done:
            return [setting]
    return []


def ranked(ladders: Sequence[Ladder], tried: Sequence[Tried], base: float) -> list[Ladder]:
    """The ladders, the most promising first."""
    return sorted(ladders, key=lambda each: -each.promise(tried, base))


def opened(tried: Sequence[Tried], space: Space) -> list[Ladder]:
    """All ladders that what was tried gives reason to climb."""
    found = {
        ladder.key: ladder
        for start in space.starts
        for ladder in (Ladder(start, name, doses, doses.first) for name, doses in space.remedies[start.method].items())
    }
    parents: set[tuple[Setting, str]] = set()
    for _ in range(GENERATIONS):
        best = ranked(list(found.values()), tried, space.base)[0] if found else None
        waiting = any(not ladder.rungs(tried) for ladder in found.values())
        if best is None or waiting or best.key in parents or len(best.rungs(tried)) < 2:
            break
        parents.add(best.key)
        found |= {ladder.key: ladder for ladder in _children(best, tried, space) if ladder.key not in found}
    return list(found.values())


def _children(ladder: Ladder, tried: Sequence[Tried], space: Space) -> list[Ladder]:
    """The ladder with another remedy, with more epochs, and with both."""
    roots = [ladder.root]
    for name, doses in space.remedies[ladder.root.method].items():
        if name != ladder.remedy and not ladder.root.dose(name):
            roots.append(ladder.root.with_dose(name, doses.first))
    if ladder.root.longer < space.longer:
        roots += [replace(root, longer=space.longer) for root in roots]
    boundary = ladder.boundary(tried)
    return [replace(ladder, root=root, first=boundary) for root in roots[1:]]


def choose(candidates: Sequence[Candidate], base: NDArray[np.float64]) -> Candidate | None:
    """The model to take of those within the margins; None where none of them is shown to have learned anything.

    Args:
        candidates: models, with `tier` 0 where they are within the margins, and as `cost` their worst loss: of those
            that tie on the target the one that lost least is taken.
        base: the base's scores on the same items [N].
    """
    kept = [each for each in candidates if each.tier == 0 and gap(each.scores - base) > NOISE]
    return pick(kept) if kept else None
