"""Summaries of a score matrix from learning tasks one after another.

`R[t, i]` is the score on task i after stage t, in [0, 1]; row 0 is the base model and stage t trains task
t - 1, so that T tasks give a matrix of shape [T + 1, T].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from keeptune.core.errors import DataError
from keeptune.retention.bootstrap import FloatArray


def _matrix(scores: ArrayLike, tasks: int = 1) -> FloatArray:
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] + 1 or matrix.shape[1] < tasks:
        raise DataError(
            f"a score matrix of shape {matrix.shape}",
            remedy=f"give one row per stage and one for the base model, T + 1 rows for T >= {tasks} tasks",
        )
    return matrix


def average_score(scores: ArrayLike) -> float:
    """Mean over tasks of the score after the last stage."""
    return float(_matrix(scores)[-1].mean())


def backward_transfer(scores: ArrayLike) -> float:
    """Mean over earlier tasks of R[T, i] - R[i, i], i counted by stage; negative: forgotten.

    Lopez-Paz & Ranzato (2017). Divides by T - 1 (TRACE divides by T).
    """
    matrix = _matrix(scores, tasks=2)
    learned = np.diagonal(matrix[1:])
    return float((matrix[-1] - learned)[:-1].mean())


def forward_transfer(scores: ArrayLike) -> float:
    """Mean over later tasks of the score just before the task is trained, minus the base model's."""
    matrix = _matrix(scores, tasks=2)
    return float((np.diagonal(matrix[:-1]) - matrix[0])[1:].mean())


def forgetting(scores: ArrayLike) -> float:
    """Mean over earlier tasks of max_{t<T} R[t, i] - R[T, i]; positive: lost (Chaudhry et al. 2018, eq. 3).

    The base model's row counts as a stage, since a base may be better at a task than any later model.
    """
    matrix = _matrix(scores, tasks=2)
    return float((matrix[:-1].max(axis=0) - matrix[-1])[:-1].mean())
