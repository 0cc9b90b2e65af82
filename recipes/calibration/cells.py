"""How often the verdicts are wrong: every cell is one world, judged many times by the code that judges real models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keeptune.core.records import ItemRecord
from keeptune.retention.change import change_of
from keeptune.retention.overall import overall
from keeptune.retention.pairs import PairedScores, Suite
from keeptune.retention.verdict import judge
from worlds import Rng, World, binary, clustered, few_lose, paired, prose, rare_class, rouge

ALLOWED = 0.06  # of an error that should happen in 5 % of the draws: one per cent for chance and approximation
COVERED = 0.935  # of an interval that should cover in 95 %
TOO_SAFE = 0.965


@dataclass(frozen=True)
class Cell:
    """One condition and what was counted."""

    name: str
    draws: int
    false_retained: float | None  # at a true loss of the margin
    false_harmed: float | None  # at a true loss of the margin
    coverage: float | None  # of the two-sided 95 % interval
    power: float | None = None  # share of Retained where nothing changed, at the margin
    withheld: str = ""  # why no verdict is given

    @property
    def conservative(self) -> bool:
        """Coverage above 95 % by more than 1.5: sound, at the price of power."""
        return self.coverage is not None and self.coverage > TOO_SAFE and not self.withheld

    @property
    def sound(self) -> bool:
        """Errors at most 5 % and one for chance, coverage at least 95 % less 1.5; or no verdict."""
        errors = [e for e in (self.false_retained, self.false_harmed) if e is not None]
        covered = self.coverage is None or self.coverage >= COVERED
        return bool(self.withheld) or (all(e <= ALLOWED for e in errors) and covered)


def worlds() -> list[World]:
    """All single suites."""
    return [*scored_by_item(), *(rare_class(n) for n in (6, 20, 60))]


def scored_by_item() -> list[World]:
    """Those whose items have scores by themselves."""
    return [
        *(binary(rate, n, lost=0.06, gained=0.04) for rate in (0.3, 0.6, 0.9, 0.95) for n in (200, 1_000)),
        *(clustered(sizes, icc, 200) for sizes in ("equal", "log-normal", "Pareto") for icc in (0.05, 0.3, 0.7)),
        *(rouge(k) for k in (5, 20, 40, 120)),
        *(few_lose(k) for k in (120, 300, 1_000)),
        *(prose(k) for k in (5, 20, 40, 100, 120)),
    ]


def single(world: World, draws: int, seed: int = 0) -> Cell:
    """One suite by itself, at a true loss of exactly its margin."""
    rng = np.random.default_rng(seed)
    retained = harmed = covered = 0
    for _ in range(draws):
        change = change_of(world.suite, world.draw(rng))
        retained += change.lower_bound() > world.truth
        harmed += change.upper_bound() < world.truth
        low, high = change.interval()
        covered += low <= world.truth <= high
    if world.claims_nothing:
        return Cell(world.name, draws, None, None, covered / draws, withheld=world.claims_nothing)
    return Cell(
        world.name, draws, retained / draws, harmed / draws, covered / draws, power=_power(world, draws // 4, rng)
    )


def _power(world: World, draws: int, rng: Rng) -> float:
    """Share of Retained at the world's margin where as much changed as there, but as much for the better."""
    kept = 0
    for _ in range(draws):
        kept += change_of(world.suite, centred(world, rng)).lower_bound() > -world.suite.required_margin
    return kept / max(draws, 1)


def centred(world: World, rng: Rng) -> PairedScores:
    """A draw in which nothing is lost on the whole: of half of the clusters, before and after have changed places."""
    scores = world.draw(rng)
    back = (rng.random(scores.n_clusters) < 0.5)[scores.codes]
    before, after = np.where(back, (scores.after, scores.before), (scores.before, scores.after))
    return replace(scores, before=before, after=after)


def family(draws: int, suites: int = 9, seed: int = 0) -> Iterator[Cell]:
    """An arm of nine suites through `judge`: is one called Harmed that lost its margin, or Worse that lost nothing?"""
    for name, lost, word in (("all at the margin", 0.06, "Harmed"), ("nothing lost anywhere", 0.04, "Worse")):
        rng, world = np.random.default_rng(seed), binary(0.7, 500, lost=lost, gained=0.04)
        suite = replace(world.suite, margin=0.02)
        wrong = 0
        for _ in range(draws):
            verdicts = judge([(replace(suite, name=f"s{i}"), world.draw(rng)) for i in range(suites)])
            wrong += any(v.verdict in ("Harmed", word) for v in verdicts)
        yield Cell(f"{suites} suites, {name}: one of them {word}", draws, None, wrong / draws, None)


def near_chance(draws: int, seed: int = 0) -> Iterator[Cell]:
    """Nine suites of four choices whose base only guesses: what can be measured is decided on validation items."""
    chance, n, suites = 0.25, 400, 9
    for above in (0.0, 0.05, 0.08):
        rng = np.random.default_rng(seed)
        wrong = 0
        for _ in range(draws):
            pairs, base = [], {}
            for i in range(suites):
                suite = Suite(f"s{i}", "accuracy", "binary", 0.02, chance)
                answers = [(rng.random(n) < chance + above).astype(float) for _ in range(3)]
                pairs.append((suite, paired(answers[0], answers[1])))
                base[suite.name] = [
                    ItemRecord(suite=suite.name, id=str(k), cluster=str(k), score=x) for k, x in enumerate(answers[2])
                ]
            wrong += any(v.verdict in ("Harmed", "Worse") for v in judge(pairs, base))
        yield Cell(
            f"{suites} suites {above:.0%} above chance, nothing lost: one Harmed or Worse",
            draws,
            None,
            wrong / draws,
            None,
        )


def together(draws: int, suites: int = 9, seed: int = 0) -> Iterator[Cell]:
    """The test over all suites of an arm: does it show a loss where there is none, and small ones where there are?"""
    graded, right = few_lose(300), binary(0.7, 500, lost=0.04, gained=0.04)
    uneven = clustered("log-normal", 0.05, 200, lost=0.0601, gained=0.06)
    kinds = {"right/wrong": [right] * suites, "right/wrong, in uneven clusters too": [right, uneven] * (suites // 2)}
    for name, chosen in kinds.items():
        yield _together(f"{len(chosen)} suites together, {name}, nothing lost", chosen, draws, seed)
    third = [binary(0.7, 500, lost=0.05, gained=0.04)] * suites
    found = _together(f"{suites} suites together, each lost a third of its margin", third, draws, seed)
    yield replace(found, false_harmed=None, power=found.false_harmed)
    yield replace(
        _together("graded", [graded] * 4, draws, seed),
        name="4 suites together, one item in twenty collapsed",
        false_harmed=None,
    )


def _together(name: str, chosen: Sequence[World], draws: int, seed: int) -> Cell:
    rng, margin = np.random.default_rng(seed), 0.03
    suites = [replace(world.suite, name=f"s{i}", margin=margin) for i, world in enumerate(chosen)]
    truth = sum(world.truth for world in chosen) / margin / len(chosen)
    shown = covered = 0
    for _ in range(draws):
        pairs = [(suite, world.draw(rng)) for suite, world in zip(suites, chosen, strict=True)]
        found = overall(pairs, judge(pairs))
        assert found is not None
        shown += found.p < 0.05
        covered += found.interval.low <= truth <= found.interval.high
    return Cell(name, draws, None, shown / draws, covered / draws)


SECTIONS: dict[str, Callable[[int], Sequence[Cell]]] = {
    "One suite, a true loss of exactly the margin": lambda draws: [single(world, draws) for world in worlds()],
    "All suites of an arm": lambda draws: [*family(draws // 4), *near_chance(draws // 10), *together(draws // 4)],
}
