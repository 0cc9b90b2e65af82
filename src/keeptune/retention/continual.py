"""Several tasks learned one after another: the score matrix and the four numbers that it comes to.

R[t, i] is the score on task i after stage t; row 0 is the base, and stage t trains on task t. Over T tasks:

- average accuracy: mean over i of R[T, i]
- backward transfer: mean over i < T of R[T, i] - R[i, i] (Lopez-Paz & Ranzato 2017, arXiv 1706.08840)
- forward transfer: mean over i > 1 of R[i-1, i] - R[0, i] (the same; their baseline is a random model, ours the base)
- forgetting: mean over i < T of max_{t<T} R[t, i] - R[T, i], cross-fitted as said below (Chaudhry et al. 2018, arXiv
  1801.10112, eq. 3). Their maximum begins at stage 1; ours takes in row 0, since a language model may know a task
  before it is trained on it.

All divide by the number of terms. TRACE (arXiv 2310.06762) divides backward transfer by T, which makes its figure
smaller by (T-1)/T; that variant isn't used.

Each number is a mean over tasks of a contrast between stages on the same items; its error is the cluster jackknife's
within each task (`clusters`), and the tasks are independent. The maximum of noisy scores lies too high, which made
forgetting of nothing in one run of seven: so one half of a task's clusters says which stage was best and the other
half by how much, and the other way about (cross-fitting). A stage that was best by chance is not so on the other half.

Shapes: `T` tasks, `N` items, `K` clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from keeptune.core.errors import DataError
from keeptune.core.records import Estimate, Interval, SequenceSummary
from keeptune.retention.binary import tango_lower, wilson, z_quantile
from keeptune.retention.change import FEW_CHANGED
from keeptune.retention.clusters import FloatArray, IntArray, Ratio, cluster_codes, ratio
from keeptune.retention.intervals import FEW_DIFFERENT

LEVEL = 0.95  # of the two-sided intervals


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
) -> SequenceSummary:
    """The score matrix of one arm, with average accuracy, transfer and forgetting, each with its interval.

    The intervals are about this sequence of checkpoints (items vary, trainings do not): another order
    or training seed is another sequence.

    Args:
        scores: ``scores[t][i]`` holds the item scores [N_i] of task i after stage t, in [0, 1]; T + 1 rows of T
            tasks, row 0 the base; the items of a task are the same, in the same order, in all rows.
        clusters: cluster of every item, [N_i] for every task.
        order: names of the tasks in the order of training, which is that of the columns.
        arm: how the recipe names it.
        label: its name in tables.
        seed: of the training.

    Raises:
        DataError: fewer than two tasks, a row or task that is missing, or items that differ between rows.
    """
    _check(scores, clusters, order)
    tasks = [
        np.array([np.asarray(row[i], dtype=np.float64) for row in scores]) for i in range(len(order))
    ]  # [T + 1, N]
    codes = [cluster_codes(names) for names in clusters]
    last, tested = len(order), range(len(order) - 1)
    accuracy = [_part(task[last], own) for task, own in zip(tasks, codes, strict=True)]
    backward = [_part(tasks[i][last] - tasks[i][i + 1], codes[i]) for i in tested]
    forward = [_part(tasks[i][i] - tasks[i][0], codes[i]) for i in range(1, last)]
    forgetting = [_part(_best_stage(tasks[i], codes[i]) - tasks[i][last], codes[i]) for i in tested]
    return SequenceSummary(
        arm=arm,
        label=label,
        order=tuple(order),
        matrix=tuple(tuple(float(x) for x in row) for row in score_matrix(scores)),
        n=tuple(task.shape[1] for task in tasks),
        seed=seed,
        average_accuracy=_accuracy(accuracy),
        backward_transfer=_contrast(backward),
        forward_transfer=_contrast(forward),
        forgetting=_contrast(forgetting),
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


def _part(values: FloatArray, codes: IntArray) -> Ratio:
    """One task's part in one number, over its items [N]."""
    return ratio(values, np.ones(len(values)), codes)


def _best_stage(scores: FloatArray, codes: IntArray) -> FloatArray:
    """Scores [N] of the best stage before the last, [T + 1, N]: for each half of the clusters the stage that the other
    half found best. A single cluster has no other half; its own maximum is taken.
    """
    earlier: FloatArray = scores[:-1]
    half = codes % 2 == 1
    if not half.any():
        return np.array(earlier[int(earlier.mean(axis=1).argmax())], dtype=np.float64)
    by_even, by_odd = (int(earlier[:, chosen].mean(axis=1).argmax()) for chosen in (~half, half))
    best: FloatArray = np.where(half, earlier[by_even], earlier[by_odd])
    return best


def _pooled(parts: Sequence[Ratio]) -> tuple[float, float, float]:
    """(mean over tasks, its error, degrees of freedom by Welch and Satterthwaite)."""
    m = len(parts)
    variances = np.array([part.se**2 for part in parts])
    total = float(variances.sum())
    shares = float((variances**2 / np.array([part.freedom for part in parts])).sum())
    freedom = total**2 / shares if shares > 0 else min(part.freedom for part in parts)
    return sum(part.estimate for part in parts) / m, math.sqrt(total) / m, freedom


def _effective(parts: Sequence[Ratio]) -> float:
    """Clusters of equal weight that would tell as much of the mean over tasks."""
    return 1 / sum(1 / (len(parts) ** 2 * part.effective) for part in parts)


def _contrast(parts: Sequence[Ratio]) -> Estimate:
    """A mean change over tasks; where it rests on few clusters it reaches as far as Tango's limits over all of them."""
    mean, error, freedom = _pooled(parts)
    if min(part.clusters for part in parts) < 2:  # one cluster knows nothing
        return Estimate(mean=mean, interval=Interval(low=-1.0, high=1.0, level=LEVEL))
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    low, high = mean - half, mean + half
    if sum(part.changed for part in parts) < FEW_CHANGED:
        n, z = _effective(parts), z_quantile((1 + LEVEL) / 2)
        shares = [n / len(parts) * part.change / part.weight.sum() for part in parts]
        lost = -sum(float(share[share < 0].sum()) for share in shares)
        gained = sum(float(share[share > 0].sum()) for share in shares)
        low, high = min(low, tango_lower(lost, gained, n, z)), max(high, -tango_lower(gained, lost, n, z))
    return Estimate(mean=mean, interval=Interval(low=max(low, -1.0), high=min(high, 1.0), level=LEVEL))


def _accuracy(parts: Sequence[Ratio]) -> Estimate:
    """A mean score over tasks; where nearly all clusters agree it's widened to contain Wilson's interval."""
    mean, error, freedom = _pooled(parts)
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    if sum(part.different for part in parts) < FEW_DIFFERENT:
        wide = wilson(min(max(mean, 0.0), 1.0), _effective(parts), z_quantile((1 + LEVEL) / 2))
        low, high = min(low, wide[0]), max(high, wide[1])
    return Estimate(mean=mean, interval=Interval(low=low, high=high, level=LEVEL))
