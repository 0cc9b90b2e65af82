"""Search strategies on simulated tasks: small enough to run, large enough to tell ladders from chance."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "search"))

from compare import run
from keeptune.recommend.doses import Setting
from strategies import STRATEGIES, best_possible
from surfaces import RATE, Surface


def test_a_surface_has_the_shapes_that_were_seen() -> None:
    surface = Surface.draw(np.random.default_rng(0))
    plain = Setting("full", RATE)
    scores, losses = zip(*(surface.truth(plain.with_dose("ewc", dose)) for dose in (0.0, 1.0, 30.0, 1e4)), strict=True)
    assert list(scores) == sorted(scores, reverse=True)
    assert all((a >= b).all() for a, b in itertools.pairwise(losses))
    longer = surface.truth(Setting("full", RATE, (("ewc", 30.0),), longer=3))
    assert longer[0] >= scores[2] and (longer[1] >= losses[2]).all()
    half = surface.truth(plain, 0.5)
    assert half[0] < scores[0] / 2 and (half[1] < losses[0]).all()
    assert 0 < best_possible(surface) < scores[0]


@pytest.mark.slow
def test_the_process_loses_less_than_ladders_and_chance() -> None:
    regret = {
        name: np.mean([run(STRATEGIES[name], task, 6, 1.0).regret for task in range(16)])
        for name in ("process", "ladders", "random")
    }
    assert regret["process"] < regret["ladders"] < regret["random"]
