"""Tasks learned one after another: the score matrix as a table of numbers with shades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeptune.core.records import Estimate, SequenceSummary, Summary
from keeptune.report.formatting import MISSING, change_with_interval, known, metric_number

SHADES = 7  # steps of the heat table, 0 is paper
FRACTION = "accuracy"  # scores of the matrix are fractions, shown in points


@dataclass(frozen=True)
class HeatCell:
    """One score: row after stage t, column task i."""

    task: str
    text: str
    class_: str  # shade, "own" on the diagonal, "before" where the task was not trained yet


@dataclass(frozen=True)
class SequenceTable:
    """The matrix of one arm and order, and the four numbers under it."""

    summary: SequenceSummary
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]
    numbers: tuple[tuple[str, str, str], ...]  # name, mean with interval, what it means
    items: str  # "400, 400, 312"


def sequences(summary: Summary) -> tuple[SequenceTable, ...]:
    """A table per arm and order; shades mean the same in all of them."""
    values = [x for one in summary.sequences for row in one.matrix for x in row if known(x)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return tuple(_table(one, low, high) for one in summary.sequences if one.matrix)


def _table(one: SequenceSummary, low: float, high: float) -> SequenceTable:
    rows = []
    for stage, scores in enumerate(one.matrix):
        name = "before" if stage == 0 else f"after {stage}: {one.order[stage - 1]}"
        rows.append((name, tuple(_cells(stage, scores, one.order, low, high))))
    numbers = (
        ("Average score", _level(one.average_accuracy), "mean of the last row"),
        ("Backward transfer", _change(one.backward_transfer), "earlier tasks, end minus when learned; minus: lost"),
        ("Forward transfer", _change(one.forward_transfer), "before a task's own stage minus before all; plus: helped"),
        ("Forgetting", _change(one.forgetting), "best score before minus the end; plus: lost"),
    )
    return SequenceTable(one, tuple(rows), numbers, ", ".join(f"{n:,}" for n in one.n))


def _cells(stage: int, scores: Sequence[float], order: Sequence[str], low: float, high: float) -> list[HeatCell]:
    cells = []
    for index, (task, score) in enumerate(zip(order, scores, strict=False)):
        kind = " own" if stage == index + 1 else " before" if stage <= index else ""
        cells.append(HeatCell(task, metric_number(score, FRACTION), f"heat-{_shade(score, low, high)}{kind}"))
    return cells


def _shade(score: float, low: float, high: float) -> int:
    if not known(score) or high <= low:
        return 0
    return round(SHADES * (score - low) / (high - low))


def _level(estimate: Estimate) -> str:
    if not known(estimate.mean):
        return MISSING
    interval = estimate.interval
    return (
        f"{metric_number(estimate.mean, FRACTION)} "
        f"({metric_number(interval.low, FRACTION)} to {metric_number(interval.high, FRACTION)})"
    )


def _change(estimate: Estimate) -> str:
    if not known(estimate.mean):
        return MISSING
    return change_with_interval(estimate.mean, estimate.interval)
