"""Ladders: the simpler strategy that the process replaced, kept to compare with.

A ladder is a method with one remedy whose dose varies. Loss falls with dose, so the feasible end of a ladder begins at
one dose, the boundary. Its promise is the target score at which its models reach the margin, read between the model
just within and the one just beyond it. The most promising ladder is narrowed towards its boundary on a log scale; as
soon as two of its doses are known it opens further ladders, each of which adds another remedy, more epochs, or both,
and begins at the boundary of the one that opened it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from keeptune.recommend.doses import DoseRange, Setting

STEP = 10.0  # largest factor between a dose and the next beyond it
LEAST = 1.5  # smallest such factor
INSIDE = 0.2  # share of a bracket that the next dose keeps away from both ends
SETTLED = 1.15  # a boundary between two doses with a smaller ratio is known well enough
GENERATIONS = 3  # ladders that open ladders


@dataclass(frozen=True)
class Point:
    """A model: its target score, and its worst loss in margins with noise allowed for."""

    target: float
    worst: float


@dataclass(frozen=True)
class Rung:
    """A training and the models it gave, its own last."""

    setting: Setting
    models: tuple[Point, ...]

    @property
    def own(self) -> Point:
        """The training's own model."""
        return self.models[-1]


def place_of(doses: DoseRange, dose: float) -> float:
    """Where a dose lies on its log scale."""
    return math.log(dose / (1 - dose) if doses.share else dose)


def dose_at(doses: DoseRange, place: float) -> float:
    """The dose at a place, two digits of it, within the range."""
    value = math.exp(place)
    value = value / (1 + value) if doses.share else value
    return float(f"{min(max(value, doses.low), doses.high):.2g}")


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

    def rungs(self, tried: Sequence[Rung]) -> list[tuple[float, Rung]]:
        """(dose, training) by rising dose; without those of dose 0."""
        mine = [(each.setting.dose(self.remedy), each) for each in tried]
        return sorted(((d, t) for d, t in mine if d and t.setting.with_dose(self.remedy, 0) == self.root), key=_dose)

    def promise(self, tried: Sequence[Rung], base: float) -> float:
        """Target score where the ladder's models reach the margin; the base and dose 0 belong to it."""
        own = [each for _, each in self.rungs(tried)] + [each for each in tried if each.setting == self.root]
        return at_the_margin([seen for each in own for seen in each.models], base)

    def next(self, tried: Sequence[Rung]) -> float | None:
        """The dose to try next; None where the boundary is known, or lies beyond the range."""
        rungs = [(place_of(self.doses, dose), each.own.worst) for dose, each in self.rungs(tried)]
        if not rungs:
            return self.first
        dose = dose_at(self.doses, self._boundary(rungs))
        known = [each for each, _ in self.rungs(tried)]
        return None if any(max(dose, other) < SETTLED * min(dose, other) for other in known) else dose

    def boundary(self, tried: Sequence[Rung]) -> float:
        """The dose at which the worst loss is expected to reach the margin."""
        rungs = [(place_of(self.doses, dose), each.own.worst) for dose, each in self.rungs(tried)]
        return dose_at(self.doses, self._boundary(rungs)) if rungs else self.first

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


def _dose(rung: tuple[float, Rung]) -> float:
    return rung[0]


def _log(worst: float) -> float:
    """Log of a loss in margins; a gain counts as a small loss."""
    return math.log(max(worst, 1 / STEP))


def at_the_margin(models: Sequence[Point], base: float) -> float:
    """Target score at a worst loss of one margin: between the best models within it and those beyond it.

    Args:
        models: with any losses.
        base: target score of the base, which loses nothing.
    """
    within = [Point(base, 0.0), *(seen for seen in models if seen.worst <= 1)]
    best = max(within, key=lambda seen: (seen.target, -seen.worst))
    beyond = [seen for seen in models if seen.worst > 1 and seen.target > best.target]
    slopes = [(seen.target - best.target) / (seen.worst - max(best.worst, 0.0)) for seen in beyond]
    return best.target + max(slopes, default=0.0) * (1 - max(best.worst, 0.0))


def ask(tried: Sequence[Rung], space: Space) -> list[Setting]:
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


def ranked(ladders: Sequence[Ladder], tried: Sequence[Rung], base: float) -> list[Ladder]:
    """The ladders, the most promising first."""
    return sorted(ladders, key=lambda each: -each.promise(tried, base))


def opened(tried: Sequence[Rung], space: Space) -> list[Ladder]:
    """All ladders that what was tried gives reason to climb."""
    found = {
        ladder.key: ladder
        for start in space.starts
        for ladder in (Ladder(start, name, doses, doses.middle) for name, doses in space.remedies[start.method].items())
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


def _children(ladder: Ladder, tried: Sequence[Rung], space: Space) -> list[Ladder]:
    """The ladder with another remedy, with more epochs, and with both."""
    roots = [ladder.root]
    for name, doses in space.remedies[ladder.root.method].items():
        if name != ladder.remedy and not ladder.root.dose(name):
            roots.append(ladder.root.with_dose(name, doses.middle))
    if ladder.root.longer < space.longer:
        roots += [replace(root, longer=space.longer) for root in roots]
    boundary = ladder.boundary(tried)
    return [replace(ladder, root=root, first=boundary) for root in roots[1:]]
