"""The verdict procedure on simulated models: a short form of `make calibration`, through the same cells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from keeptune.evaluate.metrics.macro_f1 import MacroF1
from keeptune.retention.change import change_of_scores
from keeptune.retention.pairs import PairedScores

CALIBRATION = Path(__file__).parents[2] / "recipes" / "calibration"
MODULES = ("worlds", "cells", "choices")
DRAWS = 300
NOISE = 3 * (0.05 * 0.95 / DRAWS) ** 0.5  # three standard errors of a share of 5 %


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The modules of recipes/calibration, which are scripts beside each other and no package."""
    sys.path.insert(0, str(CALIBRATION))
    try:
        yield {name: import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(CALIBRATION))
        for name in MODULES:
            sys.modules.pop(name, None)


def test_errors_and_coverage_of_every_kind_of_suite(modules: dict[str, ModuleType]) -> None:
    for world in modules["cells"].worlds():
        cell = modules["cells"].single(world, DRAWS)
        if not cell.withheld:
            assert cell.false_retained <= 0.055 + NOISE, cell
            assert cell.false_harmed <= 0.055 + NOISE, cell
            assert cell.coverage >= 0.945 - NOISE, cell


@pytest.mark.slow
def test_errors_over_the_suites_of_an_arm(modules: dict[str, ModuleType]) -> None:
    cells = modules["cells"]
    for cell in (*cells.family(100), *cells.near_chance(60), *cells.together(40)):
        assert (cell.false_harmed or 0.0) <= 0.06 + 3 * (0.05 * 0.95 / cell.draws) ** 0.5, cell


def test_retained_has_power_where_nothing_changed(modules: dict[str, ModuleType]) -> None:
    """1,546 items decide 2 points with a power of .8 if a tenth of the answers change (the protocol's table)."""
    world = modules["worlds"].binary(0.7, 1546, lost=0.05, gained=0.05)
    rng = np.random.default_rng(0)
    kept = sum(modules["cells"].change_of(world.suite, world.draw(rng)).lower_bound() > -0.02 for _ in range(1_000))
    assert 0.77 <= kept / 1_000 <= 0.84


@pytest.mark.slow
def test_arms_on_their_margin_are_seldom_taken_firmly(modules: dict[str, ModuleType]) -> None:
    for arms in (1, 10):
        firm, covered = modules["choices"].shares(120, arms)
        assert firm <= 0.05 + 3 * (0.05 * 0.95 / 120) ** 0.5
        assert covered >= 0.95 - 3 * (0.05 * 0.95 / 120) ** 0.5


@pytest.mark.slow
def test_a_method_is_seldom_said_to_differ_from_itself(modules: dict[str, ModuleType]) -> None:
    rng = np.random.default_rng(0)
    assert sum(modules["choices"].against_itself(rng) for _ in range(60)) <= 7


def answers(gold: np.ndarray, right: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(gold)) < right, gold, rng.choice(list("abc"), len(gold))).tolist()


def macro_f1(gold: np.ndarray, said: np.ndarray) -> float:
    """The textbook figure."""
    labels = sorted(set(gold.tolist()))
    hits = [((gold == k) & (said == k)).sum() for k in labels]
    return float(np.mean([2 * h / ((gold == k).sum() + (said == k).sum()) for h, k in zip(hits, labels, strict=True)]))


def test_linearised_macro_f1_agrees_with_resampling_the_corpus_itself() -> None:
    rng = np.random.default_rng(6)
    gold = rng.choice(list("abc"), 400, p=[0.6, 0.3, 0.1])
    before, after = (np.array(answers(gold, right, seed)) for right, seed in ((0.8, 7), (0.6, 8)))
    rows = [rng.integers(0, 400, 400) for _ in range(4_000)]
    resampled = [macro_f1(gold[r], after[r]) - macro_f1(gold[r], before[r]) for r in rows]
    shares = [
        np.array(MacroF1().score_all(said.tolist(), [[label] for label in gold]).values) for said in (before, after)
    ]
    index = np.arange(400)
    quick = change_of_scores(PairedScores(index, index, shares[0], shares[1], np.ones(400)))
    assert quick.estimate == pytest.approx(macro_f1(gold, after) - macro_f1(gold, before), abs=1e-9)
    assert quick.interval() == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])), abs=0.02)
