"""Several tasks learned one after another: the score matrix and the four numbers that it comes to.

R[t, i] is the score on task i after stage t; row 0 is the base, and stage t trains on task t. Over T tasks:

- average accuracy: mean over i of R[T, i]
- backward transfer: mean over i < T of R[T, i] - R[i, i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840)
- forward transfer: mean over i > 1 of R[i-1, i] - R[0, i] (the same; their baseline is a random model, ours the base)
- forgetting: mean over i < T of max_{t<T} R[t, i] - R[T, i] (Chaudhry et al. 2018, arXiv 1801.10112, eq. 3). Their
  maximum begins at stage 1; ours takes in row 0, since a language model may know a task before it is trained on it.

All divide by the number of terms. TRACE (arXiv 2310.06762) divides backward transfer by T, which makes its figure
smaller by (T-1)/T; that variant isn't used.

Each number is a mean over tasks of a contrast between stages on the same items, so that the intervals are those of a
paired cluster bootstrap within each task, studentised as in `bootstrap`. The maximum of noisy scores lies too high;
every resample takes its own maximum, so that the interval of forgetting reaches as far down as that makes it.
Shapes: `T` tasks, `N` items, `K` clusters, `L` contrasts, `R` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from keeptune.core.errors import DataError
from keeptune.core.records import Estimate, Interval, SequenceSummary
from keeptune.retention.binary import wilson, z_quantile
from keeptune.retention.bootstrap import (
    FEW_CHANGED,
    MIN_CLUSTERS,
    Bootstrap,
    FloatArray,
    cluster_codes,
    resample,
)


@dataclass(frozen=True)
class _Task:
    """Sums over the clusters of one task."""

    sums: FloatArray  # [K, T + 1] of item scores, by stage
    items: FloatArray  # [K]

    @property
    def means(self) -> FloatArray:
        """Column of the score matrix, [T + 1]."""
        return np.asarray(self.sums.sum(axis=0) / self.items.sum())


@dataclass(frozen=True)
class _Contrast:
    """One task's part in one number: the largest of its contrasts, as seen and in every resample."""

    value: float
    variance: float  # of the mean, linearised and clustered
    clusters: FloatArray  # [K] cluster means of the contrast that is largest as seen
    weight: FloatArray  # [K] share of the task's items
    drawn: FloatArray  # [R]
    drawn_variance: FloatArray  # [R]


def score_matrix(scores: Sequence[Sequence[ArrayLike]]) -> FloatArray:
    """R[t, i], [T + 1, T]: means of item scores, ``scores[t][i]`` [N_i] after stage t on task i."""
    return np.array([[np.asarray(items, dtype=np.float64).mean() for items in row] for row in scores])


def sequence_summary(
    scores: Sequence[Sequence[ArrayLike]],
    clusters: Sequence[ArrayLike],
    *,
    order: Sequence[str],
    arm: str,
    label: str,
    seed: int,
    level: float = 0.95,
    resamples: int = 10_000,
    bootstrap_seed: int = 0,
) -> SequenceSummary:
    """The score matrix of one arm, with average accuracy, transfer and forgetting, each with its interval.

    The intervals are about this sequence of checkpoints (items are drawn again, trainings are not): another order
    or training seed is another sequence.

    Args:
        scores: ``scores[t][i]`` holds the item scores [N_i] of task i after stage t, in [0, 1]; T + 1 rows of T
            tasks, row 0 the base; the items of a task are the same, in the same order, in all rows.
        clusters: cluster of every item, [N_i] for every task.
        order: names of the tasks in the order of training, which is that of the columns.
        arm: how the recipe names it.
        label: how people read it.
        seed: of the training.
        level: of the two-sided intervals.
        resamples: of the bootstrap.
        bootstrap_seed: of the bootstrap.

    Raises:
        DataError: fewer than two tasks, a row or task that is missing, or items that differ between rows.
    """
    _check(scores, clusters, order)
    tasks = [_sums([row[i] for row in scores], clusters[i]) for i in range(len(order))]
    contrasts = _contrasts(len(tasks))
    parts: dict[str, list[_Contrast]] = {name: [] for name in contrasts}
    for index, task in enumerate(tasks):
        wanted = {name: rows[index] for name, rows in contrasts.items() if index in rows}
        drawn = _resampled(task, wanted, resamples, _task_seed(bootstrap_seed, index))
        for name, part in drawn.items():
            parts[name].append(part)
    estimates = {name: _estimate(found, level, accuracy=name == "average_accuracy") for name, found in parts.items()}
    return SequenceSummary(
        arm=arm,
        label=label,
        order=tuple(order),
        matrix=tuple(tuple(float(x) for x in row) for row in np.stack([task.means for task in tasks], axis=1)),
        n=tuple(int(task.items.sum()) for task in tasks),
        seed=seed,
        average_accuracy=estimates["average_accuracy"],
        backward_transfer=estimates["backward_transfer"],
        forward_transfer=estimates["forward_transfer"],
        forgetting=estimates["forgetting"],
    )


def _check(scores: Sequence[Sequence[ArrayLike]], clusters: Sequence[ArrayLike], order: Sequence[str]) -> None:
    n = len(order)
    if n < 2:
        raise DataError(f"a sequence of {n} task", remedy="transfer and forgetting need two tasks or more")
    if len(scores) != n + 1 or any(len(row) != n for row in scores) or len(clusters) != n:
        raise DataError(
            f"{len(scores)} rows of {[len(row) for row in scores]} scored tasks for a sequence of {n}",
            remedy=f"score all {n} tasks before training and after each of the {n} stages: {n + 1} rows",
        )
    for i, name in enumerate(order):
        shapes = {np.shape(row[i]) for row in scores} | {np.shape(clusters[i])}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1 or not next(iter(shapes))[0]:
            raise DataError(
                f"{name}: items of shapes {sorted(shapes)}", remedy="score the same items, one or more, in all rows"
            )
        if not all(np.isfinite(np.asarray(row[i], dtype=np.float64)).all() for row in scores):
            raise DataError(f"{name}: an item's score is not a finite number", remedy="look for NaN in the records")


def _sums(rows: Sequence[ArrayLike], clusters: ArrayLike) -> _Task:
    codes = cluster_codes(clusters)
    sums = np.stack([np.bincount(codes, np.asarray(row, dtype=np.float64)) for row in rows], axis=1).astype(np.float64)
    return _Task(sums, np.bincount(codes).astype(np.float64))


def _contrasts(tasks: int) -> dict[str, dict[int, FloatArray]]:
    """Number -> task -> weights of the stages [L, T + 1]; tasks that have no part in the number are left out."""
    stage = np.eye(tasks + 1)
    last = stage[-1]
    return {
        "average_accuracy": dict.fromkeys(range(tasks), last[None]),
        "backward_transfer": {i: (last - stage[i + 1])[None] for i in range(tasks - 1)},
        "forward_transfer": {i: (stage[i] - stage[0])[None] for i in range(1, tasks)},
        "forgetting": dict.fromkeys(range(tasks - 1), stage[:-1] - last),
    }


def _task_seed(seed: int, index: int) -> int:
    """Tasks are drawn independently of each other, also where they have as many clusters."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def _resampled(task: _Task, wanted: dict[str, FloatArray], resamples: int, seed: int) -> dict[str, _Contrast]:
    """All contrasts of one task from one set of resamples."""
    rows = np.concatenate(list(wanted.values()))  # [L, T + 1]
    k, total = len(task.items), float(task.items.sum())
    sums = task.sums @ rows.T  # [K, L]
    values = sums.sum(axis=0) / total
    residual = sums - values * task.items[:, None]
    variance = k / (k - 1) * (residual**2).sum(axis=0) / total**2 if k > 1 else np.zeros(len(rows))
    if k >= MIN_CLUSTERS:
        shift, drawn_variance = resample(residual, task.items, resamples, seed)
    else:
        shift = drawn_variance = np.empty((0, len(rows)))
    parts, start = {}, 0
    for name, own in wanted.items():
        columns = np.arange(start, start + len(own))
        start += len(own)
        seen = int(columns[np.argmax(values[columns])])
        drawn = values[columns] + shift[:, columns]
        largest = np.argmax(drawn, axis=1)[:, None]
        parts[name] = _Contrast(
            value=float(values[seen]),
            variance=float(variance[seen]),
            clusters=sums[:, seen] / task.items,
            weight=task.items / total,
            drawn=np.take_along_axis(drawn, largest, axis=1)[:, 0],
            drawn_variance=np.take_along_axis(drawn_variance[:, columns], largest, axis=1)[:, 0],
        )
    return parts


def _estimate(parts: Sequence[_Contrast], level: float, *, accuracy: bool) -> Estimate:
    """The mean over tasks, as one studentised bootstrap; fewer than 30 clusters in a task mean Student's t."""
    boot = _pooled(parts, (0.0, 1.0) if accuracy else (-1.0, 1.0))
    if not accuracy:
        low, high = boot.interval(level)
    else:
        low, high = boot.resampled_interval(level)
        if _nearly_constant(parts):
            wide = wilson(min(max(boot.estimate, 0.0), 1.0), boot.effective, z_quantile((1 + level) / 2))
            low, high = min(low, wide[0]), max(high, wide[1])
    return Estimate(mean=boot.estimate, interval=Interval(low=low, high=high, level=level))


def _pooled(parts: Sequence[_Contrast], limits: tuple[float, float]) -> Bootstrap:
    m = len(parts)
    estimate = sum(part.value for part in parts) / m
    fewest = min(len(part.clusters) for part in parts)
    weights = np.concatenate([part.weight for part in parts]) / m  # sum to 1
    changed = np.concatenate([part.clusters for part in parts])
    t = np.empty(0)
    if fewest >= MIN_CLUSTERS:
        drawn = np.sum([part.drawn for part in parts], axis=0) / m
        variance = np.sum([part.drawn_variance for part in parts], axis=0) / m**2
        valid = variance > 0
        t = np.sort((drawn[valid] - estimate) / np.sqrt(variance[valid]))
    return Bootstrap(
        estimate=estimate,
        se=math.sqrt(sum(part.variance for part in parts)) / m,
        clusters=fewest,  # the smallest task decides whether resampling is to be trusted, and Student's t otherwise
        effective=1 / float(weights @ weights),
        lost=int(np.count_nonzero(changed < 0)),
        gained=int(np.count_nonzero(changed > 0)),
        t=t,
        limits=limits,
    )


def _nearly_constant(parts: Sequence[_Contrast]) -> bool:
    """True if fewer than ten clusters differ from the commonest cluster mean of their task."""
    others = 0
    for part in parts:
        counts = np.unique(part.clusters.round(12), return_counts=True)[1]
        others += len(part.clusters) - int(counts.max())
    return others < FEW_CHANGED
