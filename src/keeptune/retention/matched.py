"""Two arms at equal target score: mean retained drop, paired over seeds (SCIENCE: protocol, step 6).

An arm that gained more has usually lost more; comparing at equal steps or at each arm's best rate mixes the two.
So every arm is read along its frontier, at one target score that both reach. All scores here are of validation items.

A frontier is a set of points (target score, retained drop), both fractions: every rate, checkpoint and interpolation
point of one arm and seed. It becomes a function of the target score as its lower envelope: the smallest drop that
the arm reaches at this score or above, linear between neighbouring Pareto points and constant below the lowest of
them. Above the highest point the function does not exist: nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from keeptune.core.errors import DataError
from keeptune.core.records import Interval, Matched
from keeptune.retention.clusters import FloatArray
from keeptune.retention.intervals import MIN_SEEDS, seed_t_interval
from keeptune.retention.wording import points

Frontiers = Mapping[int, Sequence[tuple[float, float]]]
"""Seed -> points (target score, retained drop) of one arm. The drop is positive where something was lost."""


def pareto(frontier: ArrayLike) -> FloatArray:
    """The points [P, 2] for which no other has at least the target score and at most the drop; target ascending.

    Raises:
        DataError: no points, or one that is not a pair of finite numbers.
    """
    rows = np.asarray(frontier, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows) or not np.isfinite(rows).all():
        raise DataError(
            f"a frontier of shape {rows.shape} is not a list of finite pairs",
            remedy="give (target score, retained drop) of at least one model",
        )
    rows = rows[np.lexsort((rows[:, 1], -rows[:, 0]))]  # target descending, smaller drop first
    below_all_before = rows[:, 1] < np.minimum.accumulate(np.r_[math.inf, rows[:-1, 1]])
    return rows[below_all_before][::-1]


def drop_at(frontier: ArrayLike, level: float) -> float:
    """The drop of a frontier [P, 2] at a target score; nan above its highest point."""
    rows = pareto(frontier)
    if level > rows[-1, 0]:
        return math.nan
    return float(np.interp(level, rows[:, 0], rows[:, 1]))


def common_levels(a: Frontiers, b: Frontiers, base: float | None = None, count: int = 1) -> tuple[float, ...]:
    """Target scores at which to compare, highest first; empty where the frontiers do not overlap.

    The first is the highest that both arms reach in every common seed. With `count` > 1 further ones follow, in
    equal steps down to the lowest score above which all frontiers exist (the base, where it is given); that end
    itself is left out, for nothing was gained there.
    """
    seeds = _common(a, b)
    top = min(_reach(arm, seed)[1] for arm in (a, b) for seed in seeds)
    floor = max(_reach(arm, seed)[0] for arm in (a, b) for seed in seeds) if base is None else base
    if top < floor or (base is not None and top <= base):
        return ()
    steps = [top - (top - floor) * i / count for i in range(count)]
    return tuple(dict.fromkeys(steps))  # all the same where top is floor


def matched(
    a: Frontiers,
    b: Frontiers,
    *,
    arms: tuple[str, str],
    labels: tuple[str, str],
    base: float | None = None,
    level: float | None = None,
) -> Matched:
    """Retained drop of arm `a` minus that of arm `b` at equal target score, one difference per common seed.

    Args:
        a: seed -> frontier of the first arm, the base's point (its target score, 0) included.
        b: the same of the second.
        arms: how the recipe names them.
        labels: how people read them.
        base: target score of the base. Its point is then part of every frontier, and a level that is not above
            it is refused, since there both arms are the base. Where it is left out only levels between the lowest
            and the highest point of every frontier are compared.
        level: target score to compare at; the highest common one where left out.
    """
    if not a.keys() & b.keys():
        return _refused(arms, labels, "no seed was run with both")
    a, b = (_with_base(frontiers, base) for frontiers in (a, b))
    levels = common_levels(a, b, base)
    if not levels or (level is not None and level > levels[0]):
        return _refused(arms, labels, _no_overlap(a, b, labels, base, level))
    at = levels[0] if level is None else level
    if at < (floor := _floor(a, b, base)) or (base is not None and at <= base):
        return _refused(arms, labels, f"{points(at)} is not above {points(floor)}, where the frontiers begin")
    return _compared(a, b, arms, labels, at)


def matched_curve(
    a: Frontiers,
    b: Frontiers,
    *,
    arms: tuple[str, str],
    labels: tuple[str, str],
    base: float | None = None,
    count: int = 4,
) -> tuple[Matched, ...]:
    """The comparison at `count` levels, highest first; one record that says why where nothing can be compared.

    The levels are read from the same models, so that their intervals are not independent of each other.
    """
    if not a.keys() & b.keys():
        return (_refused(arms, labels, "no seed was run with both"),)
    levels = common_levels(_with_base(a, base), _with_base(b, base), base, count)
    return tuple(
        matched(a, b, arms=arms, labels=labels, base=base, level=level) for level in (levels if levels else (None,))
    )


def _with_base(frontiers: Frontiers, base: float | None) -> Frontiers:
    if base is None:
        return frontiers
    return {seed: [*rows, (base, 0.0)] for seed, rows in frontiers.items()}


def _common(a: Frontiers, b: Frontiers) -> list[int]:
    return sorted(a.keys() & b.keys())


def _reach(frontiers: Frontiers, seed: int) -> tuple[float, float]:
    """Lowest and highest target score of one seed."""
    targets = [target for target, _ in frontiers[seed]]
    if not targets:
        raise DataError(f"the frontier of seed {seed} has no point", remedy="leave the seed out of both arms")
    return min(targets), max(targets)


def _floor(a: Frontiers, b: Frontiers, base: float | None) -> float:
    return base if base is not None else max(_reach(arm, seed)[0] for arm in (a, b) for seed in _common(a, b))


def _no_overlap(a: Frontiers, b: Frontiers, labels: tuple[str, str], base: float | None, level: float | None) -> str:
    """Which arm and seed fall short of which level, in words."""
    reached = [
        (_reach(arm, seed)[1], label, seed) for arm, label in ((a, labels[0]), (b, labels[1])) for seed in _common(a, b)
    ]
    top, label, seed = min(reached)
    where = f"{label} reaches {points(top)} at most (seed {seed})"
    if level is not None and level > top:
        return f"{where}, below {points(level)}"
    if base is not None:
        return f"{where}, no more than the base ({points(base)})"
    return f"{where}, below {points(_floor(a, b, base))}, where the other frontier begins"


def _refused(arms: tuple[str, str], labels: tuple[str, str], reason: str) -> Matched:
    sentence = f"{labels[0]} and {labels[1]} are not comparable at equal target score: {reason}"
    return Matched(arms=arms, labels=labels, level=None, comparable=False, sentence=sentence)


def _compared(a: Frontiers, b: Frontiers, arms: tuple[str, str], labels: tuple[str, str], level: float) -> Matched:
    seeds = _common(a, b)
    differences = [drop_at(a[seed], level) - drop_at(b[seed], level) for seed in seeds]
    mean = sum(differences) / len(differences)
    both, one_sided = seed_t_interval(differences, 0.95), seed_t_interval(differences, 0.90)
    interval = Interval(low=both[0], high=both[1]) if both else None
    return Matched(
        arms=arms,
        labels=labels,
        level=level,
        seeds=tuple(seeds),
        differences=tuple(differences),
        mean=mean,
        interval=interval,
        upper_bound=one_sided[1] if one_sided else None,
        comparable=True,
        sentence=_sentence(labels, level, mean, interval, len(seeds)),
    )


def _sentence(labels: tuple[str, str], level: float, mean: float, interval: Interval | None, seeds: int) -> str:
    """'At 81.2 points of target score LoRA r=16 lost 3.1 points less than full fine-tuning (95 % 0.4 to 5.8, …)'."""
    more = mean > 0
    text = (
        f"At {points(level)} points of target score {labels[0]} lost {points(abs(mean))} points"
        f" {'more' if more else 'less'} than {labels[1]}"
    )
    if interval is None:
        count = "one seed, which says" if seeds == 1 else f"{seeds} seeds, which say"
        return f"{text} ({count} nothing about the methods; {MIN_SEEDS} are the least)"
    low, high = (interval.low, interval.high) if more else (-interval.high, -interval.low)
    shown = "" if low > 0 else ", not shown to differ"
    return f"{text} ({100 * interval.level:g} % {points(low)} to {points(high)}, {seeds} seeds{shown})"
