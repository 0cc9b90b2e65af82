"""Loss curves, read from the records beside the summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from markupsafe import Markup

from keeptune.core.errors import DataError
from keeptune.core.records import Record, StepRecord, ValidationRecord, read_records
from keeptune.report.arms import ArmView, ran
from keeptune.report.lossplot import loss_axis, loss_chart
from keeptune.report.sections.trouble import hardest_rows
from keeptune.report.svg import Axis

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Curve:
    """Loss curves of one arm."""

    label: str
    chart: Markup
    steps: int
    files: str
    kept: ValidationRecord | None  # the checkpoint that was kept
    note: str | None  # what is wrong with the records
    hardest: str  # validation rows with the largest loss


def curves(views: Sequence[ArmView], run: Path) -> tuple[Curve, ...]:
    """Loss curves of every arm that has records, on one scale."""
    read = []
    for v in ran(views):
        if not v.arm.folder:
            continue
        folder = run / v.arm.folder
        steps, fault = _readable(folder / "steps.jsonl", StepRecord)
        validation, other_fault = _readable(folder / "validation.jsonl", ValidationRecord)
        if steps or validation:
            read.append((v, steps, validation, fault or other_fault))
    if not read:
        return ()
    losses = [loss for _, steps, validation, _ in read for loss in loss_axis(steps, validation)]
    axis = Axis.around(losses, lambda value: f"{value:.3g}", wanted=4)
    made = []
    for v, steps, validation, fault in read:
        chart = loss_chart(steps, validation, axis, f"Training and validation loss of {v.label}")
        kept = max((r for r in validation if r.best), key=lambda r: r.step, default=None)
        files = f"{v.arm.folder}/steps.jsonl, validation.jsonl"
        made.append(Curve(v.label, chart, len(steps), files, kept, fault, hardest_rows(v.arm)))
    return tuple(made)


def _readable(path: Path, kind: type[R]) -> tuple[list[R], str | None]:
    """The records before the first bad line, and what is wrong with that line: a curve may be cut short."""
    records: list[R] = []
    if not path.is_file():
        return records, None
    try:
        for record in read_records(path, kind):
            records.append(record)
    except DataError as error:
        return records, f"{path.name} ends at line {error.line}: {error.message}"
    return records, None
