"""How often a choice is wrong: arms that all sit on their margin, and a method that is compared with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from keeptune.core.records import ArmSummary, Costs, Interval, ItemRecord, Score
from keeptune.recommend.choose import recommend
from keeptune.retention.matched import Point, matched
from keeptune.retention.pairs import Suite
from keeptune.retention.scores import difference
from keeptune.retention.verdict import judge
from keeptune.study.records import SuiteScores, ValidationScores
from keeptune.study.validation import ValidationResults
from worlds import Rng, binary

MARGIN = 0.03
ITEMS, VALIDATION = 500, 200  # of the target and of the suite, test and validation


@dataclass(frozen=True)
class Choice:
    """What became of one study among arms that lost their margin exactly."""

    firm: bool  # "Take", without "Provisional": wrong, since no arm keeps the suite within its margin
    covered: bool | None  # the interval of the chosen arm's gain holds its true gain; None where none was chosen


def _records(name: str, scores: NDArray[np.float64]) -> list[ItemRecord]:
    return [ItemRecord(suite=name, id=str(i), cluster=str(i), score=float(x)) for i, x in enumerate(scores)]


def study_on_the_margin(rng: Rng, arms: int) -> Choice:
    """Arms that score alike (true gains between 20 and 24 points) and all lost exactly their margin on the suite."""
    world = binary(0.7, ITEMS, lost=MARGIN + 0.03, gained=0.03)
    small = binary(0.7, VALIDATION, lost=MARGIN + 0.03, gained=0.03)
    suite = Suite("skill", "exact_match", "binary", MARGIN)
    gains = {f"arm{i}": float(rng.uniform(0.20, 0.24)) for i in range(arms)}
    truth = {"prompt": 0.3, **{name: 0.3 + gain for name, gain in gains.items()}}
    test = {name: (rng.random(ITEMS) < mean).astype(float) for name, mean in truth.items()}
    seen = {name: tuple((rng.random(VALIDATION) < mean).astype(float).tolist()) for name, mean in truth.items()}
    base = _records("skill", (rng.random(400) < 0.7).astype(float))
    seen_by = {"prompt": ValidationScores(target=seen["prompt"], suites=())}
    rows = [_row("prompt", test["prompt"], ())]
    for name in gains:
        on_validation, on_test = small.draw(rng), world.draw(rng)
        flips = on_validation.after - on_validation.before
        error = float(flips.std(ddof=1)) / len(flips) ** 0.5
        look = SuiteScores(suite="skill", margin=MARGIN, change=float(flips.mean()), error=error, scores=())
        seen_by[name] = ValidationScores(target=seen[name], suites=(look,))
        rows.append(_row(name, test[name], judge([(suite, on_test)], {"skill": base})))
    items = {name: _records("target", scores) for name, scores in test.items()}

    def gap(a: str, b: str) -> tuple[float, Interval]:
        return difference(items[a], items[b])

    clusters = np.arange(VALIDATION).astype(object)
    validation = ValidationResults(clusters, (), seen_by, {}).for_choice()
    found = recommend(rows, gap, validation, indifference=0.01, requests=1000, chance=0.0)
    chosen = found.arm if found.arm in gains else None
    if chosen is None:
        return Choice(firm=False, covered=None)
    interval = gap(chosen, "prompt")[1]
    return Choice(firm=not found.provisional, covered=interval.low <= gains[chosen] <= interval.high)


def _row(name: str, scores: NDArray[np.float64], suites: Sequence[object]) -> ArmSummary:
    mean = float(scores.mean())
    error = 1.96 * (mean * (1 - mean) / len(scores)) ** 0.5
    return ArmSummary.model_validate(
        {
            "name": name,
            "label": name,
            "family": "prompt" if name == "prompt" else "full",
            "target": Score(
                metric="exact_match",
                mean=mean,
                interval=Interval(low=mean - error, high=mean + error),
                n=len(scores),
                clusters=len(scores),
            ),
            "suites": tuple(suites),
            "costs": Costs(tokens_per_request=30.0),
        }
    )


def against_itself(rng: Rng, seeds: int = 3, items: int = 100) -> bool:
    """Two arms of one method, four models a seed: is one of them said to lose more?

    Seeds differ in what they gain and lose; items are the same for all models, each with a difficulty of its own.
    """
    hard_target, hard_suite = rng.random(items), rng.random((2, items))
    before = hard_suite < 0.8

    def arm() -> dict[int, list[Point]]:
        found: dict[int, list[Point]] = {}
        for seed in range(seeds):
            skill, care = rng.normal(0, 0.05), rng.normal(0, 0.04)
            found[seed] = []
            for progress in (0.4, 0.6, 0.8, 1.0):
                target = (hard_target < np.clip(0.9 * progress + skill, 0.02, 0.98)).astype(float)
                noise = rng.random((2, items)) < 0.05
                after = (hard_suite < np.clip(0.8 - 0.3 * progress + care, 0.02, 0.98)) ^ noise
                losses = [(b.astype(float) - a.astype(float)) / 0.03 for b, a in zip(before, after, strict=True)]
                found[seed].append(Point(target, losses))
        return found

    codes = [np.arange(items)] * 3
    compared = matched(arm(), arm(), codes, arms=("a", "b"), labels=("a", "b"))
    return compared.interval is not None and not compared.interval.low <= 0 <= compared.interval.high


def shares(draws: int, arms: int, seed: int = 0) -> tuple[float, float | None]:
    """(share of firm choices, coverage of the gain where an arm was chosen) over many studies."""
    rng = np.random.default_rng([seed, arms])
    found = [study_on_the_margin(rng, arms) for _ in range(draws)]
    covered = [each.covered for each in found if each.covered is not None]
    return sum(each.firm for each in found) / draws, sum(covered) / len(covered) if covered else None
