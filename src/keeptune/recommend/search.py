"""The search for an arm that keeps: which training comes next, given all that was tried. Pure, and without state.

Wanted is the best target score among models whose every suite loses no more than its margin. From what was tried one
process for the target and one for every suite (see `process`) say what each training that was not tried, and each point
on the way to it, would score and lose, and how sure that is. They start from what is known of remedies: losses fall
about as a power of a pull's dose and of the share that is not replayed, the target holds up to some dose and then goes,
both shrink towards the base. Replay leaves fewer tokens to the target: with half of them replayed, half of a pull's
dose does the same, and twice the epochs teach as much. A pull far beyond all that was tried may teach nothing at all,
and then it says nothing, so doses go up and down in steps. The next training is the one with the largest expected gain:
over all that its target score may come to, what it would be better than the best model within the margins, times the
probability that every suite will be judged within its margin (Gardner et al. 2014, "Bayesian optimization with
inequality constraints"). A model that was measured is judged by its own items and by all other models, not by its own
items alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from keeptune.recommend.doses import DoseRange, Setting
from keeptune.recommend.process import Beliefs, Between, Floats

ALPHAS = (0.2, 0.4, 0.6, 0.8, 1.0)  # points between base and tuned model
DOSES = 25  # of a remedy that are considered
SHARES = 10  # of a remedy whose dose is a share
TOGETHER = 2  # remedies in one training
SPARE = 0.5  # standard errors of a loss that its margin has room for: docs/search.md says what others give
STEP = 4.0  # times the largest dose of a pull that was tried, or a part of the smallest: no training goes further
LEAST = 1e-3  # expected gain in target score below which no training is worth it
SEEDS = 0.15  # standard deviation that another seed adds to a log of a loss and to log odds of a score
STEEP = 4.0  # losses are looked at as asinh(STEEP * loss): as they are where small, by their logarithms where large
LEAST_ERROR = 0.05  # smallest standard error of a loss, in margins: where no item changed it is still not known exactly
ROUNDS = 10  # until the expected losses stay where they are
QUANTILES = ndtri((np.arange(9) + 0.5) / 9)  # of what a target score may come to


Place = tuple[Setting, float]  # a training and alpha


@dataclass(frozen=True)
class Seen:
    """A model on validation items."""

    alpha: float  # its place between the base (0) and the tuned model (1)
    target: float  # mean score
    error: float  # standard error of it
    losses: tuple[float, ...]  # of every suite, in margins
    errors: tuple[float, ...]  # standard errors of them
    items: tuple[Floats, ...] = field(default=(), compare=False, repr=False)  # losses of a suite's items, where known

    def worst(self, spare: float) -> float:
        """The largest loss in margins with ``spare`` standard errors allowed for: within the margins up to 1."""
        return max(loss + spare * error for loss, error in zip(self.losses, self.errors, strict=True))


@dataclass(frozen=True)
class Tried:
    """A training and the models it gave: points on the way to its model, and that model."""

    setting: Setting
    models: tuple[Seen, ...]


@dataclass(frozen=True)
class Space:
    """What a search may try.

    Attributes:
        starts: plain trainings, every method at every rate that it may have.
        doses: of the remedies that go with a method, by the method's name.
        longer: most times the recipe's epochs.
        spare: standard errors of a loss that its margin has to have room for.
        base: target score of the base.
        whole: methods that have no points between base and tuned model.
    """

    starts: Sequence[Setting]
    doses: Mapping[str, Mapping[str, DoseRange]]
    longer: int = 1
    spare: float = SPARE
    base: float = 0.0
    whole: frozenset[str] = frozenset()

    def holds(self, setting: Setting) -> bool:
        """Whether a training says something about those that may be tried."""
        doses = self.doses.get(setting.method)
        return doses is not None and all(name in doses for name, _ in setting.doses)

    def settings(self) -> list[Setting]:
        """Every training that a search considers."""
        found = []
        for start in self.starts:
            mine = [start]
            for name, doses in self.doses[start.method].items():
                spread = (0.0, *doses.spread(SHARES if doses.share else DOSES))
                mine = [s.with_dose(name, dose) for s in mine for dose in spread if not dose or len(s.doses) < TOGETHER]
            found += [replace(setting, longer=longer) for setting in mine for longer in sorted({1, self.longer})]
        return found

    def acting(self, setting: Setting, pull: str) -> float:
        """The dose of a pull that acts: against the target's own tokens, which replay leaves fewer of."""
        return setting.dose(pull) / _alone(setting, self.remedies())

    def remedies(self) -> dict[str, DoseRange]:
        """Every remedy of any method with its doses."""
        return {name: doses for each in self.doses.values() for name, doses in each.items()}


def _alone(setting: Setting, remedies: Mapping[str, DoseRange]) -> float:
    """Share of a training's tokens that are the target's: pulls act against these."""
    return 1 - sum(dose for name, dose in setting.doses if remedies[name].share)


def ask(tried: Sequence[Tried], space: Space, count: int = 1) -> list[Setting]:
    """The trainings that come next, the most wanted first; fewer than ``count`` where no more are worth it.

    The second is asked for as if the first had come out as expected, and so on: they do not wait for each other.

    Args:
        tried: everything so far, plain trainings and other arms of the study included, in any order; one at least.
        space: what may be tried.
        count: most trainings that are returned.
    """
    asked: list[Setting] = []
    tried = [each for each in tried if space.holds(each.setting)]
    while len(asked) < count:
        wanted = _best(tried, space)
        if wanted is None:
            break
        asked.append(wanted.setting)
        tried.append(wanted)
    return asked


def _best(tried: Sequence[Tried], space: Space) -> Tried | None:
    """The training with the largest expected gain, as if it had come out as expected; None where none is worth it."""
    done = {each.setting for each in tried}
    reached = _Reached.of(done, space)
    settings = [setting for setting in space.settings() if setting not in done and reached.near(setting)]
    if not settings:
        return None
    at = [(setting, alpha) for setting in settings for alpha in ALPHAS]
    known = _Known.of(tried, space)
    target, spread = _target(known, at)
    losses, likely = _losses(known, at, space.spare)
    best = max([space.base, *(model.target for model in known.estimated() if model.worst(space.spare) <= 1)])
    gains = np.maximum(_score(target[:, None] + spread[:, None] * QUANTILES) - best, 0.0).mean(1) * likely
    gains[[alpha < 1 and setting.method in space.whole for setting in settings for alpha in ALPHAS]] = 0.0
    by_setting = gains.reshape(len(settings), len(ALPHAS))
    chosen = int(by_setting.max(1).argmax())
    if by_setting[chosen].max() < LEAST:
        return None
    rows = range(chosen * len(ALPHAS), (chosen + 1) * len(ALPHAS))
    errors = tuple(float(e) for e in np.min([model.errors for model in known.models], axis=0))
    expected = [
        Seen(alpha, float(_score(target[row])), known.models[0].error, tuple(losses[row].tolist()), errors)
        for alpha, row in zip(ALPHAS, rows, strict=True)
    ]
    return Tried(settings[chosen], tuple(expected))


@dataclass(frozen=True)
class _Reached:
    """Pulls that were tried. Beyond them beliefs are guesses, so no training goes more than `STEP` times as far."""

    space: Space
    doses: Mapping[str, Sequence[float]]  # that act, of every pull that was tried

    @classmethod
    def of(cls, tried: Collection[Setting], space: Space) -> _Reached:
        """By all trainings."""
        pulls = [name for name, doses in space.remedies().items() if not doses.share]
        doses = {name: [space.acting(each, name) for each in tried if each.dose(name)] for name in pulls}
        return cls(space, {name: found for name, found in doses.items() if found})

    def near(self, setting: Setting) -> bool:
        """Whether every pull of a setting is within one step of what was tried; the first may have any dose."""
        return all(
            min(tried) / STEP <= self.space.acting(setting, name) <= max(tried) * STEP
            for name, tried in self.doses.items()
            if setting.dose(name)
        )


def estimates(tried: Sequence[Tried], space: Space) -> list[Tried]:
    """What was tried, every loss as all models together say it is, and a standard error of that.

    A suite of few items says of one model hardly whether it is within a margin. Models nearby say more of it, as far as
    they were not wrong on the same items.
    """
    held = [each for each in tried if space.holds(each.setting)]
    if not held:
        return list(tried)
    better = iter(_Known.of(held, space).estimated())
    return [
        replace(each, models=tuple(next(better) for _ in each.models)) if space.holds(each.setting) else each
        for each in tried
    ]


@dataclass(frozen=True, eq=False)
class _Known:
    """Models that were looked at: where they lie, and what was measured there."""

    places: _Places
    x: Sequence[Place]
    models: Sequence[Seen]
    own: Between  # what is believed of losses at the models before they were measured
    measured: Sequence[tuple[Floats, Floats]]  # of every suite, see `_measured`

    @classmethod
    def of(cls, tried: Sequence[Tried], space: Space) -> _Known:
        """Of all trainings."""
        places = _Places.of(space)
        x = [(each.setting, model.alpha) for each in tried for model in each.models]
        models = [model for each in tried for model in each.models]
        own = places.between(LOSS, x, x)
        alone = _noise_alone([setting for setting, _ in x])
        measured = [_measured(own, alone, models, suite) for suite in range(len(models[0].losses))]
        return cls(places, x, models, own, measured)

    def estimated(self) -> list[Seen]:
        """The models, every loss as all of them together say it is."""
        if not self.measured:
            return list(self.models)
        found = [self.own.given(*each) for each in self.measured]
        losses = np.sinh(np.stack([mean for mean, _ in found], axis=1)) / STEEP
        errors = np.stack([spread for _, spread in found], axis=1) / _slope(losses)
        return [
            replace(model, losses=tuple(loss), errors=tuple(error))
            for model, loss, error in zip(self.models, losses.tolist(), errors.tolist(), strict=True)
        ]


def _target(known: _Known, at: Sequence[Place]) -> tuple[Floats, Floats]:
    """Mean and standard deviation [M] of the log odds of target scores."""
    scores = np.array([model.target for model in known.models])
    errors = np.array([model.error for model in known.models])
    floor = np.maximum(errors.max(), 1e-3) / 4  # a score of nothing is not infinitely bad
    clipped = np.clip(scores, floor, 1 - floor)
    noise = np.hypot(SEEDS, np.maximum(errors, floor) / (clipped * (1 - clipped) + floor))
    between = known.places.between(TARGET, known.x, at)
    return between.given(np.log(clipped / (1 - clipped)), np.diag(noise**2))


def _losses(known: _Known, at: Sequence[Place], spare: float) -> tuple[NDArray[np.float64], Floats]:
    """Expected losses in margins [M, S], and the probability that all of them will be judged within the margins [M]."""
    between, expected, likely = known.places.between(LOSS, known.x, at), [], np.ones(len(at))
    for suite, measured in enumerate(known.measured):
        mean, spread = between.given(*measured)
        loss, error = np.array([(model.losses[suite], model.errors[suite]) for model in known.models]).T
        noise = np.hypot(SEEDS, error[np.abs(loss - 1).argmin()] * _slope(1.0))  # of a measurement at the margin
        after = spread * noise / np.hypot(spread, noise)  # standard deviation that is left then
        moves = spread**2 / np.hypot(spread, noise)  # standard deviation of what will then be expected
        likely = likely * ndtr((np.arcsinh(STEEP) - spare * after - mean) / moves)
        expected.append(np.sinh(np.maximum(mean, 0.0)) / STEEP)
    return np.stack(expected, axis=1), likely


def _measured(own: Between, alone: Floats, models: Sequence[Seen], suite: int) -> tuple[Floats, Floats]:
    """asinh(STEEP * loss) of a suite under every model [N], and the covariance of what they are off by [N, N].

    The same items were asked of all models, so they are off together, as far as their items say so. What a loss is off
    by is as large for small losses as for large ones, but not its asinh: so that is a line through what the loss is
    expected to be, not through what was seen, and what is expected is found in some rounds (an iterated extended Kalman
    filter; Bell and Cathey 1993).

    Args:
        own: what is believed at the models themselves.
        alone: covariance of what no items decide [N, N].
        models: that were looked at.
        suite: its place among the suites.
    """
    loss = np.array([model.losses[suite] for model in models])
    error = np.maximum([model.errors[suite] for model in models], LEAST_ERROR)
    together = _together([model.items[suite] if model.items else np.zeros(1) for model in models])

    def line(y: Floats) -> tuple[Floats, Floats]:
        expected = np.sinh(y) / STEEP
        slope = _slope(expected)
        return y + (loss - expected) * slope, np.outer(error * slope, error * slope) * together + alone

    y: Floats = np.arcsinh(STEEP * loss)
    for _ in range(ROUNDS):
        y = (y + own.given(*line(y))[0]) / 2
    return line(y)


def _noise_alone(settings: Sequence[Setting]) -> Floats:
    """Covariance of what models are off by without any item [N, N]: the points of one training share its seed."""
    seeds: Floats = SEEDS**2 * np.array([[float(a == b) for b in settings] for a in settings])
    return seeds + 1e-3 * np.eye(len(settings))  # models whose items are all alike do not measure the same thing twice


def _together(items: Sequence[Floats]) -> Floats:
    """Correlations of models over the items of a suite [N, N]; none with models whose items say nothing."""
    found = np.eye(len(items))
    known = [n for n, each in enumerate(items) if each.std() > 0]
    if len(known) > 1:
        found[np.ix_(known, known)] = np.corrcoef(np.stack([items[n] for n in known]))
    return found


def _slope(loss: ArrayLike) -> Floats:
    """Of asinh(STEEP * loss)."""
    slope: Floats = STEEP / np.hypot(1, STEEP * np.asarray(loss))
    return slope


def _score(log_odds: Floats) -> Floats:
    score: Floats = 1 / (1 + np.exp(-log_odds))
    return score


@dataclass(frozen=True)
class _Slopes:
    """Trend of a quantity and the doubt about it, by coordinate; see `LOSS` and `TARGET`."""

    level: tuple[float, float]
    pull: tuple[float, float]  # from no dose to the largest
    share: tuple[float, float]
    longer: tuple[float, float]  # for each power of e of the times that the target's rows are seen
    rate: tuple[float, float]  # and of the rate
    alpha: tuple[float, float]  # and of alpha
    start: float  # doubt about what differs between methods
    rest: float
    bend: float  # power of the reach of a pull's dose with which it acts


LOSS = _Slopes(
    level=(3.5, 1.5),
    pull=(-6, 4),
    share=(-3, 3),
    longer=(0.2, 0.4),
    rate=(0.5, 0.5),
    alpha=(1.5, 0.7),
    start=1,
    rest=0.7,
    bend=1,
)
TARGET = _Slopes(
    level=(2, 2),
    pull=(-8, 4),
    share=(0, 1),
    longer=(1, 0.8),
    rate=(0.5, 0.7),
    alpha=(3.5, 2),
    start=1,
    rest=1,
    bend=2,
)
WIDTH = 0.25  # of the way from no dose to the largest, over which the rest of a quantity changes
WIDTH_OF_LOGS = 1.2  # the same of a logarithm of epochs, rates and alpha


@dataclass(frozen=True)
class _Places:
    """Models as places: 1, the reach of every remedy, logs of epochs, rate and alpha, one column for every method."""

    remedies: Mapping[str, DoseRange]
    rate: Mapping[str, float]  # by method, the one that others are compared with

    @classmethod
    def of(cls, space: Space) -> _Places:
        """Of all that may be tried."""
        return cls(space.remedies(), {start.method: start.lr for start in space.starts})

    def between(self, slopes: _Slopes, x: Sequence[Place], at: Sequence[Place]) -> Between:
        """What is believed of a quantity at models that were measured and at models asked about."""
        return self.beliefs(slopes).between(self.rows(x, slopes.bend), self.rows(at, slopes.bend))

    def rows(self, models: Sequence[Place], bend: float) -> Floats:
        """Models as coordinates [N, D]."""
        settings, alphas = zip(*models, strict=True)
        alone = np.array([_alone(each, self.remedies) for each in settings])
        reach = [
            doses.reach(dose) if doses.share else doses.reach(dose / alone) ** bend
            for name, doses in self.remedies.items()
            for dose in [np.array([each.dose(name) for each in settings])]
        ]
        longer = np.log(np.array([each.longer for each in settings]) * alone)
        rate = np.log([each.lr / self.rate[each.method] for each in settings])
        own = [np.array([float(each.method == method) for each in settings]) for method in self.rate]
        return np.column_stack([np.ones(len(models)), *reach, longer, rate, np.log(alphas), *own])

    def beliefs(self, slopes: _Slopes) -> Beliefs:
        """What is believed of a quantity with these slopes."""
        doses = [slopes.share if each.share else slopes.pull for each in self.remedies.values()]
        own = [(0.0, slopes.start)] * len(self.rate)
        trend = [slopes.level, *doses, slopes.longer, slopes.rate, slopes.alpha, *own]
        width = [1.0, *[WIDTH] * len(doses), *[WIDTH_OF_LOGS] * 3, *[WIDTH] * len(self.rate)]
        mean, doubt = np.array(trend).T
        return Beliefs(mean, doubt, slopes.rest, np.array(width))
