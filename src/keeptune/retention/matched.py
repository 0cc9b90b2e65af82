"""Two arms at equal target score: which of them lost more? By seed and by item (SCIENCE: protocol, step 6).

An arm that gained more has usually lost more; comparing at equal steps or at each arm's best rate mixes the two. So
every arm is read along its frontier, at one target score that both reach. All scores here are of validation items.

A frontier is all models of one arm and seed that were looked at: every rate that was run and every checkpoint on its
way. Its loss at a target score is its lower envelope: the smallest loss that the arm reaches at this score or above,
linear between neighbouring Pareto points. Nothing is extrapolated, and no line is drawn from the base to the first
model that was measured. The envelope of more models lies lower by chance alone, so both arms give as many within a
seed.

Losses are in units of margins, averaged over the suites: points and per cent of the bits are not added up.
Seeds are trainings, items are shared by all of them; the interval is Student's t over seeds on an error that adds what
drawing other items would change (a bootstrap by cluster, the same items for all models).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from keeptune.core.errors import DataError
from keeptune.core.records import Interval, Matched
from keeptune.core.units import minus
from keeptune.retention.clusters import FloatArray, IntArray
from keeptune.retention.intervals import MIN_SEEDS
from keeptune.retention.sentences import points

RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class Point:
    """One model on validation items: its target scores [N], and its losses on every suite [M], averaged."""

    target: FloatArray
    losses: Sequence[FloatArray]  # in units of the suite's margin

    @property
    def place(self) -> tuple[float, float]:
        """(target score, mean loss over the suites in margins)."""
        return float(self.target.mean()), float(np.mean([loss.mean() for loss in self.losses]))


Frontiers = Mapping[int, Sequence[Point]]
"""Seed -> the models of one arm."""


def pareto(frontier: ArrayLike) -> FloatArray:
    """The points [P, 2] for which no other has at least the target score and at most the loss; target ascending.

    Raises:
        DataError: no points, or one that is not a pair of finite numbers.
    """
    rows = np.asarray(frontier, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows) or not np.isfinite(rows).all():
        raise DataError(
            f"a frontier of shape {rows.shape} is not a list of finite pairs",
            remedy="give (target score, loss) of at least one model",
        )
    rows = rows[np.lexsort((rows[:, 1], -rows[:, 0]))]  # target descending, smaller loss first
    below_all_before = rows[:, 1] < np.minimum.accumulate(np.r_[math.inf, rows[:-1, 1]])
    return rows[below_all_before][::-1]


def loss_at(frontier: ArrayLike, level: float) -> float:
    """The loss of a frontier [P, 2] at a target score; that of its ends beyond them."""
    rows = pareto(frontier)
    return float(np.interp(level, rows[:, 0], rows[:, 1]))


def matched(
    a: Frontiers,
    b: Frontiers,
    clusters: Sequence[IntArray],
    *,
    arms: tuple[str, str],
    labels: tuple[str, str],
    seed: int = 0,
) -> Matched:
    """Loss of arm `a` minus that of arm `b` at the highest target score that both reach in every common seed.

    Args:
        a: the models of the first arm.
        b: those of the second; all on the same items.
        clusters: cluster of every target item [N], then of every suite's items [M].
        arms: how the recipe names them.
        labels: their names in tables.
        seed: of the bootstrap over items.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        return _refused(arms, labels, "no seed was run with both")
    seeds = [seed for seed in common if min(len(a[seed]), len(b[seed])) > 1] or common
    pairs = [(_even(a[s], len(b[s])), _even(b[s], len(a[s]))) for s in seeds]
    ends = [(min(x), max(x)) for pair in pairs for side in pair for x in [[p.place[0] for p in side]]]
    floor, top = max(low for low, _ in ends), min(high for _, high in ends)
    if top < floor:
        reason = f"{points(top)} is the highest score of one of them and {points(floor)} the lowest of the other"
        return _refused(arms, labels, reason)
    differences = [loss_at([p.place for p in x], top) - loss_at([p.place for p in y], top) for x, y in pairs]
    mean = sum(differences) / len(differences)
    interval = upper = None
    if len(seeds) >= MIN_SEEDS:
        error = math.hypot(
            float(np.std(differences, ddof=1)) / math.sqrt(len(seeds)), _item_error(pairs, clusters, top, seed)
        )
        half, one_sided = (float(stdtrit(len(seeds) - 1, p)) * error for p in (0.975, 0.95))
        interval, upper = Interval(low=mean - half, high=mean + half), mean + one_sided
    return Matched(
        arms=arms,
        labels=labels,
        level=top,
        seeds=tuple(seeds),
        differences=tuple(differences),
        mean=mean,
        interval=interval,
        upper_bound=upper,
        comparable=True,
        sentence=_sentence(labels, top, mean, interval, len(seeds)),
    )


def _even(models: Sequence[Point], most: int) -> list[Point]:
    """At most so many of the models, evenly spread over their target scores."""
    ordered = sorted(models, key=lambda point: point.place)
    if len(ordered) <= most:
        return ordered
    return [ordered[i] for i in np.linspace(0, len(ordered) - 1, most).round().astype(int)]


def _item_error(
    pairs: Sequence[tuple[Sequence[Point], Sequence[Point]]], clusters: Sequence[IntArray], level: float, seed: int
) -> float:
    """Standard deviation of the mean difference where other clusters of items are drawn."""
    rng = np.random.default_rng(seed)
    weights = [_drawn(codes, rng) for codes in clusters]  # [N, R] and [M, R] of every suite
    sides = [[_places(side, weights) for side in pair] for pair in pairs]
    means = []
    for r in range(RESAMPLES):
        found = [loss_at(x[:, :, r], level) - loss_at(y[:, :, r], level) for x, y in sides]
        means.append(sum(found) / len(found))
    return float(np.std(means, ddof=1))


def _drawn(codes: IntArray, rng: np.random.Generator) -> FloatArray:
    """Share of every item in every resample of whole clusters, [items, R]."""
    k = int(codes.max()) + 1
    counts = rng.multinomial(k, np.full(k, 1 / k), size=RESAMPLES).T.astype(np.float64)[codes]
    return np.asarray(counts / counts.sum(axis=0))


def _places(side: Sequence[Point], weights: Sequence[FloatArray]) -> FloatArray:
    """(target score, loss) of every model in every resample, [P, 2, R]."""
    targets = np.stack([point.target for point in side]) @ weights[0]
    losses = [np.stack([p.losses[i] for p in side]) @ own for i, own in enumerate(weights[1:])]
    return np.stack([targets, np.mean(losses, axis=0)], axis=1)


def _refused(arms: tuple[str, str], labels: tuple[str, str], reason: str) -> Matched:
    sentence = f"{labels[0]} and {labels[1]} are not comparable at equal target score: {reason}"
    return Matched(arms=arms, labels=labels, level=None, comparable=False, sentence=sentence)


def _sentence(labels: tuple[str, str], level: float, mean: float, interval: Interval | None, seeds: int) -> str:
    """'At 81.2 points of target score LoRA lost 1.3 margins less than full fine-tuning (95 % 0.2 to 2.4, 3 seeds)'."""
    more = mean > 0
    text = (
        f"At {points(level)} points of target score {labels[0]} lost {abs(mean):.1f} margins"
        f" {'more' if more else 'less'} than {labels[1]}, mean over the suites"
    )
    if interval is None:
        count = "one seed, which says" if seeds == 1 else f"{seeds} seeds, which say"
        return f"{text} ({count} nothing about the methods; {MIN_SEEDS} are the least)"
    low, high = (interval.low, interval.high) if more else (-interval.high, -interval.low)
    shown = "" if low > 0 else ", not shown to differ"
    ends = " to ".join(minus(f"{end:.1f}") for end in (low, high))
    return f"{text} ({100 * interval.level:g} % {ends}, {seeds} seeds{shown})"
