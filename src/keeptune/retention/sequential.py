"""Fewer items to the same verdict: items are asked in blocks, and a suite stops where its verdict is settled.

A group-sequential test (Jennison & Turnbull 2000, Group Sequential Methods). The clusters of a suite stand in an order
that is drawn before anything is asked, and are cut into blocks. After every block but the last, the statistic of "the
change is exactly minus the margin" is held against two boundaries: above the upper one the suite is Retained, below the
lower one Harmed, and no further item of it is asked. The boundaries spend a level of 5 % on Retained and, as
Bonferroni's first step of Holm's procedure does, 5 % over the number of suites on Harmed (Lan & DeMets 1983, Biometrika
70). So a suite stops by its own items alone, and how many others there are does not change its order.

What is then said of the change reckons with the looks before the last (stage-wise ordering: Tsiatis, Rosner & Mehta
1984, Biometrics 40): its p values and limits are those of "as far from this value, or stopped on that side before". By
that p values keep their level where the looks before were passed, Holm's procedure runs over them as over any others,
and an interval covers at least as often as it says. With a single block everything is what it is without.

The joint distribution of the statistics at the looks is that of Brownian motion: their correlation is the root of the
ratio of the shares of clusters that they have seen. `change` gives every look's statistic by its own method, as a
normal quantile of its p value (Jennison & Turnbull, section 3.8), so that scores of every kind are served.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from keeptune.core.units import content_hash
from keeptune.retention.change import MIN_CLUSTERS, Change, change_of
from keeptune.retention.clusters import FloatArray
from keeptune.retention.pairs import PairedScores, Suite

LOOKS = 10  # at most; a block holds at least as many clusters as a verdict needs
FARTHEST = 8.5  # standard deviations; nothing lies beyond
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)

Spending = Callable[[float, float], float]
"""(share of the clusters that was seen, level) -> the part of the level that may be spent by then."""


def obrien_fleming(share: float, level: float) -> float:
    """Little at first and most at the end: boundaries like O'Brien & Fleming's (Lan & DeMets 1983)."""
    return float(2 * ndtr(ndtri(level / 2) / math.sqrt(share)))


def pocock(share: float, level: float) -> float:
    """Nearly evenly: boundaries like Pocock's (Lan & DeMets 1983)."""
    return level * math.log1p((math.e - 1) * share)


def squared(share: float, level: float) -> float:
    """Between the two: the level times the square of the share (Kim & DeMets 1987, Biometrika 74)."""
    return level * share**2


@dataclass(frozen=True, eq=False)
class Walk:
    """A Brownian motion that went on past every look so far: its density at the last one, on quadrature nodes.

    Scores are standard normal at every look. Boundaries of a look may be moved by a drift, which is the same as a
    drift of the motion.
    """

    share: float  # of the clusters, that the last look saw
    nodes: FloatArray  # scores at it, [G]
    mass: FloatArray  # density times the weights of the quadrature, [G]

    @classmethod
    def start(cls) -> Walk:
        """Before the first look."""
        return cls(0.0, np.zeros(1), np.ones(1))

    def below(self, share: float, score: float) -> float:
        """Probability of having gone on until now and being at most at `score` at the next look."""
        pull, spread = self._next(share)
        return float(self.mass @ ndtr((score - pull * self.nodes) / spread))

    def above(self, share: float, score: float) -> float:
        """Probability of having gone on until now and being at least at `score` at the next look."""
        pull, spread = self._next(share)
        return float(self.mass @ ndtr((pull * self.nodes - score) / spread))

    def lower(self, share: float, level: float) -> float:
        """The score at the next look that a share `level` of all starts gets to and is below."""
        return _score(lambda z: self.below(share, z), level)

    def upper(self, share: float, level: float) -> float:
        """The score at the next look that a share `level` of all starts gets to and is above."""
        return -_score(lambda z: self.above(share, -z), level)

    def past(self, share: float, lower: float, upper: float) -> Walk:
        """Those that go on past the next look, between its boundaries."""
        pull, spread = self._next(share)
        low, high = (min(max(bound, -FARTHEST), FARTHEST) for bound in (lower, upper))
        nodes = (low + high) / 2 + (high - low) / 2 * _NODES
        steps = (nodes - pull * self.nodes[:, None]) / spread
        density = self.mass @ np.exp(steps * steps / -2)
        return Walk(share, nodes, density * _WEIGHTS * ((high - low) / 2 / (spread * math.sqrt(2 * math.pi))))

    def _next(self, share: float) -> tuple[float, float]:
        """The next score is `pull` times this one and normal noise of deviation `spread`."""
        known = self.share / share
        return math.sqrt(known), math.sqrt(1 - known)


def _score(tail: Callable[[float], float], level: float) -> float:
    """Where an increasing tail probability reaches `level`; the farthest score if it is above that everywhere."""
    if tail(-FARTHEST) >= level:
        return -FARTHEST
    return float(brentq(lambda z: tail(z) - level, -FARTHEST, FARTHEST, xtol=1e-12))


@dataclass(frozen=True)
class Boundaries:
    """Where a suite stops: shares of its clusters that the looks see, and scores at and beyond which it is settled."""

    shares: tuple[float, ...]  # ascending, the last is 1
    lower: tuple[float, ...]  # Harmed
    upper: tuple[float, ...]  # Retained

    @property
    def mirrored(self) -> Boundaries:
        """The boundaries of the scores with the other sign."""
        return Boundaries(self.shares, tuple(-z for z in self.upper), tuple(-z for z in self.lower))

    def tail(self, look: int, score: float, drift: float = 0.0) -> float:
        """Probability of a stop on the lower side before `look`, or of going on to it and being at most at `score`.

        `drift` is the mean of the score at `look` where the boundaries count from another value than the one whose
        probability this is; `score` counts from that one.
        """
        walk, stopped = Walk.start(), 0.0
        for share, lower, upper in zip(self.shares[:look], self.lower, self.upper, strict=False):
            moved = drift * math.sqrt(share / self.shares[look])
            stopped += walk.below(share, lower - moved)
            walk = walk.past(share, lower - moved, upper - moved)
        return stopped + walk.below(self.shares[look], score)


@lru_cache(maxsize=256)
def boundaries(
    shares: tuple[float, ...], retained: float = 0.05, harmed: float = 0.05, spend: Spending = squared
) -> Boundaries:
    """Boundaries that are crossed with the levels given where the change is exactly minus the margin.

    Args:
        shares: of the clusters that the looks see; the last is 1.
        retained: one-sided level of the upper boundary.
        harmed: one-sided level of the lower one.
        spend: how much of the levels may be spent by when.
    """
    walk, lower, upper = Walk.start(), [], []
    parts = [np.diff([0.0, *(spend(share, level) for share in shares)]) for level in (harmed, retained)]
    for share, below, above in zip(shares, *parts, strict=True):
        lower.append(walk.lower(share, below))
        upper.append(walk.upper(share, above))
        walk = walk.past(share, lower[-1], upper[-1])
    return Boundaries(shares, tuple(lower), tuple(upper))


@dataclass(frozen=True)
class Course:
    """In which blocks the items of a suite are asked, and when that ends."""

    blocks: tuple[tuple[int, ...], ...]  # positions of the items, whole clusters each
    boundaries: Boundaries

    def stop(self, look: int) -> Stop:
        """A stop after the block of this number, counted from 0."""
        return Stop(self.boundaries, look, sum(map(len, self.blocks[look + 1 :])))


def course(suite: str, clusters: Sequence[str], suites: int, looks: int = LOOKS, alpha: float = 0.05) -> Course:
    """The course of a suite: its clusters in an order by the hash of their names, which no score has a part in.

    Args:
        suite: its name; suites that share clusters have orders of their own.
        clusters: of every item, [N].
        suites: number of suites that are judged together.
        looks: at most.
        alpha: one-sided level of Retained, and of Harmed over all suites.

    Example:
        >>> found = course("addition", [f"item {number}" for number in range(200)], suites=3)
        >>> [len(block) for block in found.blocks]
        [34, 33, 33, 34, 33, 33]
    """
    order = sorted(set(clusters), key=lambda name: content_hash([suite, name]))
    looks = max(min(looks, len(order) // MIN_CLUSTERS), 1)
    block_of = {name: rank * looks // len(order) for rank, name in enumerate(order)}
    blocks: list[list[int]] = [[] for _ in range(looks)]
    for position, name in enumerate(clusters):
        blocks[block_of[name]].append(position)
    seen = np.bincount(list(block_of.values())).cumsum() / len(order)
    return Course(tuple(map(tuple, blocks)), boundaries(tuple(seen.tolist()), alpha, alpha / suites))


@dataclass(frozen=True)
class Stop:
    """Where the items of a suite ended: at which look at which boundaries, and how many items were left."""

    boundaries: Boundaries
    look: int
    unasked: int


def change_until(suite: Suite, scores: PairedScores, stop: Stop | None) -> Change:
    """The change of a suite, whose margin is known, over the items that were asked until its stop."""
    change = change_of(suite, scores)
    return change if stop is None else StoppedChange.of(change, stop, suite.required_margin)


def settled(suite: Suite, scores: PairedScores, stop: Stop) -> bool:
    """Whether the items asked until a look cross a boundary there, so that the suite is Retained or Harmed."""
    change, margin = change_of(suite, scores), suite.required_margin
    low, high = ndtri(change.p_below(-margin)), -ndtri(change.mirrored.p_below(margin))
    bounds = stop.boundaries
    return change.enough and bool(low <= bounds.lower[stop.look] or high >= bounds.upper[stop.look])


@dataclass(frozen=True)
class StoppedChange(Change):
    """The change of a suite that was stopped at a look: p values and limits reckon with the looks before."""

    nominal: Change  # as if all items were those that were asked
    stop: Stop
    margin: float

    @classmethod
    def of(cls, change: Change, stop: Stop, margin: float) -> StoppedChange:
        """The change seen at the stop."""
        seen = {field.name: getattr(change, field.name) for field in fields(Change)}
        return cls(**seen, nominal=change, stop=stop, margin=margin)

    @property
    def mirrored(self) -> StoppedChange:
        """The change from after to before."""
        stop = Stop(self.stop.boundaries.mirrored, self.stop.look, self.stop.unasked)
        return StoppedChange.of(self.nominal.mirrored, stop, -self.margin)

    @property
    def p_worse(self) -> float:
        """One-sided p of "no worse than before"."""
        return self._reckoned(self.nominal.p_worse, 0.0)

    def p_below(self, value: float) -> float:
        """One-sided p of "the change is `value` or more"."""
        return self._reckoned(self.nominal.p_below(value), value)

    def _reckoned(self, p: float, value: float) -> float:
        """A p value of the change being `value`, with the looks before; never smaller than without them.

        Where single clusters lose much, early looks are less sure than a Brownian motion, and would have stopped
        fewer suites: that `value` seldom leads so far is then no evidence against it.
        """
        error = math.sqrt(self.nominal.variance / self.n)
        if self.stop.look == 0 or error == 0:
            return p
        return max(p, self.stop.boundaries.tail(self.stop.look, float(ndtri(p)), (value + self.margin) / error))

    def _low(self, tail: float) -> float:
        return self.nominal._low(tail) if self.stop.look == 0 else -self.mirrored._high(tail)

    def _high(self, tail: float) -> float:
        """The value whose p is `tail`. Where looks contradict each other it may lie below what was seen: then that."""
        error = math.sqrt(self.nominal.variance / self.n)
        if self.stop.look == 0 or error == 0:
            return self.nominal._high(tail)
        far = max(self.nominal._high(1e-9), -self.margin + FARTHEST * error)
        high = min(far, self.limits[1])
        if self.p_below(self.estimate) <= tail:
            return self.estimate
        if self.p_below(high) >= tail:
            return high
        return float(brentq(lambda value: self.p_below(value) - tail, self.estimate, high, xtol=1e-7))
