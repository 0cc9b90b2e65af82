"""Compares search strategies on simulated tasks at equal numbers of trainings, as `make strategies` does.

    python recipes/search/compare.py --tasks 100 [--only process ladders] [--budgets 12] [--spare 0.5]

TPE takes part where optuna is installed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from scipy.stats import norm

from keeptune.recommend.doses import Setting
from keeptune.recommend.pick import pick_within
from keeptune.recommend.search import SPARE, estimates
from strategies import STRATEGIES, Strategy, best_possible
from surfaces import Surface, Trained

BUDGETS = (8, 16, 32)
TEST = 500 / 200  # test items for every validation item


@dataclass(frozen=True)
class Outcome:
    """What a search came to, in truth."""

    regret: float  # best possible target score minus that of what was found; nothing found scores 0
    found: bool
    lost: bool  # more than a margin, in truth
    harmed: float  # probability of a verdict Harmed on test items


def run(strategy: Strategy, task: int, trainings: int, spare: float) -> Outcome:
    """One search of one task. Noise and items are the same for every strategy."""
    surface = Surface.draw(np.random.default_rng([task, 0]))
    noise = np.random.default_rng([task, 1])

    def train(setting: Setting) -> Trained:
        return surface.train(setting, noise)

    done = strategy(surface, train, trainings, task, spare)
    tried = [trained.tried for trained in done]
    better = estimates(tried, surface.space(spare))
    candidates = [each for trained, judge in zip(done, better, strict=True) for each in trained.judged(judge, spare)]
    truths = {name: truth for trained in done for name, truth in trained.true().items()}
    chosen = pick_within(candidates, np.zeros(len(surface.items)))
    best = best_possible(surface)
    if chosen is None:
        return Outcome(best, False, False, 0.0)
    target, losses = truths[chosen.name]
    errors = surface.errors * np.sqrt(np.clip(losses, 0.05, 1) / TEST)
    # Holm's first step: the most significant suite at 5 % of all
    harmed = 1 - np.prod(norm.cdf(norm.isf(0.05 / len(losses)) - (losses - 1) / errors))
    return Outcome(best - target, True, bool(losses.max() > 1), float(harmed))


def interval(values: np.ndarray) -> str:
    """Mean with the 95 % interval of a normal mean."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return f"{100 * values.mean():5.1f} ({100 * (values.mean() - half):.1f} to {100 * (values.mean() + half):.1f})"


def _there() -> list[str]:
    """All strategies, or those that need no package that is not installed."""
    return [name for name in STRATEGIES if name != "TPE" or find_spec("optuna")]


def main() -> None:
    """Print one line for every strategy and budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--spare", type=float, default=SPARE)
    parser.add_argument("--only", nargs="*", choices=list(STRATEGIES), default=_there())
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    args = parser.parse_args()
    for trainings in args.budgets:
        first = None
        for name in args.only:
            found = [run(STRATEGIES[name], task, trainings, args.spare) for task in range(args.tasks)]
            regret = np.array([each.regret for each in found])
            first = regret if first is None else first
            print(
                f"{trainings:3d} {name:8s} regret {interval(regret)}  minus the first's {interval(regret - first)}"
                f"  found {np.mean([e.found for e in found]):.2f} lost {np.mean([e.lost for e in found]):.2f}"
                f" harmed on test {np.mean([e.harmed for e in found]):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
