"""Search strategies under one interface: keeptune's ladders, random search, and Optuna's constrained TPE.

All start from the plain training, score the same points on the way to every training, and take the same choice.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np

import ladders
from keeptune.recommend.doses import Setting
from keeptune.recommend.search import ask
from surfaces import RANGES, RATE, Surface, Trained

Train = Callable[[Setting], Trained]
Strategy = Callable[[Surface, Train, int, int, float], list[Trained]]  # (task, train, trainings, seed, spare) -> tried

LONGER = 3
AT_ONCE = 2
FINE = 200  # doses that random search draws from


def process(surface: Surface, train: Train, trainings: int, seed: int, spare: float) -> list[Trained]:
    """`keeptune.recommend.search.ask`, as many at a time as a study asks for."""
    done, space = [train(Setting("full", RATE))], surface.space(spare)
    while (left := trainings + 1 - len(done)) > 0:
        wanted = ask([each.tried for each in done], space, min(AT_ONCE, left))
        if not wanted:
            break
        done += [train(setting) for setting in wanted]
    return done


def on_ladders(surface: Surface, train: Train, trainings: int, seed: int, spare: float) -> list[Trained]:
    """See `ladders`."""
    start = Setting("full", RATE)
    done, space = [train(start)], ladders.Space((start,), {"full": RANGES}, LONGER)
    while (left := trainings + 1 - len(done)) > 0:
        wanted = ladders.ask([_rung(each, spare) for each in done], space)[:left]
        if not wanted:
            break
        done += [train(setting) for setting in wanted]
    return done


def _rung(trained: Trained, spare: float) -> ladders.Rung:
    points = (ladders.Point(model.target, model.worst(spare)) for model in trained.tried.models)
    return ladders.Rung(trained.tried.setting, tuple(points))


def at_random(surface: Surface, train: Train, trainings: int, seed: int, spare: float) -> list[Trained]:
    """Doses spread over their scales; each remedy and the longer training in or out."""
    rng = np.random.default_rng(seed)
    done = [train(Setting("full", RATE))]
    while len(done) <= trainings:
        setting = Setting("full", RATE, longer=LONGER if rng.random() < 0.5 else 1)
        for name, doses in RANGES.items():
            dose = rng.choice(doses.spread(FINE))
            if rng.random() < 2 / 3:
                setting = setting.with_dose(name, float(dose))
        done.append(train(setting))
    return done


def tpe(surface: Surface, train: Train, trainings: int, seed: int, spare: float) -> list[Trained]:
    """Optuna's TPE, the worst loss beyond its margin a constraint; a point on the way may stand for its training.

    Its objective is the best target score within the margins among these points, or else that of the smallest loss.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    done = [train(Setting("full", RATE))]

    def objective(trial: optuna.Trial) -> float:
        setting = Setting("full", RATE, longer=trial.suggest_categorical("longer", [1, LONGER]))
        for name, doses in RANGES.items():
            place = trial.suggest_float(name, ladders.place_of(doses, doses.low), ladders.place_of(doses, doses.high))
            setting = setting.with_dose(name, ladders.dose_at(doses, place))
        result = train(setting)
        done.append(result)
        within = [model for model in result.tried.models if model.worst(spare) <= 1]
        best = max(within, key=lambda m: m.target) if within else min(result.tried.models, key=lambda m: m.worst(spare))
        if best.target < 0.05:  # the base in all but name
            best = result.tried.models[-1]
        trial.set_user_attr("beyond", math.log(max(best.worst(spare), 1e-2)))
        return best.target

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=max(4, trainings // 3),
            multivariate=True,
            constraints_func=lambda trial: (trial.user_attrs["beyond"],),
        )
        optuna.create_study(direction="maximize", sampler=sampler).optimize(objective, n_trials=trainings)
    return done


STRATEGIES: dict[str, Strategy] = {"process": process, "ladders": on_ladders, "random": at_random, "TPE": tpe}


def best_possible(surface: Surface) -> float:
    """Best true target score of a grid of settings that keep every suite."""
    best = 0.0
    for dose in [0.0, *np.geomspace(RANGES["ewc"].low, RANGES["ewc"].high, 60)]:
        for share in [0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]:
            for longer in (1, LONGER):
                setting = Setting("full", RATE, longer=longer).with_dose("ewc", dose).with_dose("replay", share)
                for alpha in (0.6, 0.8, 1.0):
                    target, losses = surface.truth(setting, alpha)
                    best = max(best, target) if losses.max() <= 1 else best
    return best
