"""How often verdicts are wrong where a suite stops as soon as it is settled, and how many items that takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import numpy as np

from cells import Cell, centred, scored_by_item
from keeptune.retention.binary import z_quantile
from keeptune.retention.change import change_of
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.sequential import (
    LOOKS,
    Boundaries,
    Course,
    Spending,
    Stop,
    StoppedChange,
    Walk,
    boundaries,
    course,
    obrien_fleming,
    pocock,
    settled,
    squared,
)
from keeptune.retention.verdict import judge
from worlds import Rng, World, binary

SPENDING: dict[str, Spending] = {
    "O'Brien-Fleming-like": obrien_fleming,
    "share squared": squared,
    "Pocock-like": pocock,
}
SUITES = 9
Row = TypeVar("Row")


@dataclass(frozen=True)
class Fewer:
    """One condition and what was counted; as a `Cell`, with the items that were asked."""

    name: str
    draws: int
    false_retained: float  # at a true loss of the margin
    false_harmed: float
    coverage: float
    covered: float  # coverage where nothing was lost; there too:
    power: float
    power_of_all: float  # with all items
    asked: float  # share of the items

    @property
    def sound(self) -> bool:
        """Errors at most 5 % and coverage at least 95 %, each but for three standard errors of so many draws."""
        noise = 3 * (0.05 * 0.95 / self.draws) ** 0.5
        errors = (self.false_retained, self.false_harmed, 1 - self.coverage)
        return max(errors) <= 0.05 + noise and 1 - self.covered <= 0.05 + noise * 2**0.5  # of half as many draws


def until_settled(suite: Suite, scores: PairedScores, planned: Course, rng: Rng) -> tuple[PairedScores, Stop]:
    """The scores that are asked for until a suite is settled. The order of the clusters is drawn for every draw."""
    number = np.repeat(np.arange(len(planned.blocks)), [len(block) for block in planned.blocks])
    block = rng.permutation(number)[scores.codes]
    for look in range(len(planned.blocks)):
        asked = np.flatnonzero(block <= look)
        labels = None if scores.labels is None else scores.labels[asked]
        kept = (each[asked] for each in (scores.ids, scores.clusters, scores.before, scores.after, scores.weights))
        seen, stop = PairedScores(*kept, labels), Stop(planned.boundaries, look, scores.n - len(asked))
        if settled(suite, seen, stop):
            break
    return seen, stop


def planned_for(world: World, suites: int = 1) -> Course:
    """The course of a world's suite, cluster by cluster."""
    clusters = world.draw(np.random.default_rng(0)).n_clusters
    return course(world.name, [str(number) for number in range(clusters)], suites)


def stopped(world: World, draws: int, seed: int = 0) -> Fewer:
    """One suite by itself, at a true loss of exactly its margin, and where nothing was lost."""
    rng, planned, margin = np.random.default_rng(seed), planned_for(world), world.suite.required_margin
    at_margin, centre, of_all, asked = [], [], [], []
    for _ in range(draws):
        change, _ = _ended(world.suite, world.draw(rng), planned, rng)
        at_margin.append((change.p_below(-margin), change.mirrored.p_below(margin)))
    for _ in range(draws // 2):
        scores = centred(world, rng)
        change, share = _ended(world.suite, scores, planned, rng)
        centre.append((change.p_below(0.0), change.mirrored.p_below(0.0), change.mirrored.p_below(margin)))
        of_all.append(change_of(world.suite, scores).lower_bound() > -margin)
        asked.append(share)
    low, high = np.transpose(at_margin)
    low_0, high_0, kept = np.transpose(centre)
    return Fewer(
        world.name,
        draws,
        false_retained=float(np.mean(high < 0.05)),
        false_harmed=float(np.mean(low < 0.05)),
        coverage=float(np.mean(np.minimum(low, high) >= 0.025)),
        covered=float(np.mean(np.minimum(low_0, high_0) >= 0.025)),
        power=float(np.mean(kept < 0.05)),
        power_of_all=float(np.mean(of_all)),
        asked=float(np.mean(asked)),
    )


def _ended(suite: Suite, scores: PairedScores, planned: Course, rng: Rng) -> tuple[StoppedChange, float]:
    """What is said of the change in the end, and the share of the items that were asked."""
    seen, stop = until_settled(suite, scores, planned, rng)
    return StoppedChange.of(change_of(suite, seen), stop, suite.required_margin), seen.n / scores.n


def single(draws: int) -> list[Fewer]:
    """All single suites that get verdicts and whose items have scores by themselves."""
    return _in_processes(_single, draws, sum(not world.claims_nothing for world in scored_by_item()))


def _single(draws: int, number: int) -> Fewer:
    return stopped([world for world in scored_by_item() if not world.claims_nothing][number], draws)


def _in_processes(row: Callable[[int, int], Row], draws: int, rows: int) -> list[Row]:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        return list(pool.map(partial(row, draws), range(rows)))


def arms(draws: int) -> list[Cell]:
    """Arms of nine suites that stop: is one called Harmed that lost its margin, or Worse that lost nothing?"""
    return _in_processes(_arm, draws, 2)


def _arm(draws: int, number: int) -> Cell:
    name, lost, word = (("all at the margin", 0.06, "Harmed"), ("nothing lost anywhere", 0.04, "Worse"))[number]
    rng, world = np.random.default_rng(number), binary(0.7, 500, lost=lost, gained=0.04)
    planned, suites = (
        planned_for(world, SUITES),
        [replace(world.suite, name=f"s{i}", margin=0.02) for i in range(SUITES)],
    )
    wrong = 0
    for _ in range(draws):
        seen = [until_settled(suite, world.draw(rng), planned, rng) for suite in suites]
        pairs = [(suite, scores) for suite, (scores, _) in zip(suites, seen, strict=True)]
        stops = {suite.name: stop for suite, (_, stop) in zip(suites, seen, strict=True)}
        wrong += any(v.verdict in ("Harmed", word) for v in judge(pairs, stops=stops))
    return Cell(f"{SUITES} suites, {name}: one of them {word}", draws, None, wrong / draws, None)


def spent(powers: Sequence[float], looks: int = LOOKS) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Every spending function: power and share of the items, where the test of all items has these powers."""
    shares = tuple((look + 1) / looks for look in range(looks))
    for name, spend in SPENDING.items():
        found = boundaries(shares, 0.05, 0.05 / SUITES, spend)
        yield name, [_expected(found, z_quantile(0.95) + z_quantile(power)) for power in powers]


def _expected(bounds: Boundaries, drift: float) -> tuple[float, float]:
    """Probability of Retained and expected share of the items, where the score of all items has the mean `drift`."""
    walk, kept, asked, before = Walk.start(), 0.0, 0.0, 0.0
    for share, lower, upper in zip(bounds.shares, bounds.lower, bounds.upper, strict=True):
        moved = drift * math.sqrt(share)
        asked += float(walk.mass.sum()) * (share - before)
        kept += walk.above(share, upper - moved)
        walk, before = walk.past(share, lower - moved, upper - moved), share
    return kept, asked
