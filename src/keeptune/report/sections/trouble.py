"""What went wrong in trainings: why nothing was learned, and the rows behind losses that stood out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.records import ArmSummary, RowLoss
from keeptune.report.arms import ArmView, ran


@dataclass(frozen=True)
class SpikeRow:
    """One step whose loss stood out, in words."""

    step: str
    loss: str
    usual: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Trouble:
    """One arm that something is to be said of."""

    view: ArmView
    cause: str | None
    spikes: tuple[SpikeRow, ...]


def trouble(views: Sequence[ArmView]) -> tuple[Trouble, ...]:
    """The arms whose training learned nothing or had losses that stood out."""
    return tuple(Trouble(v, v.arm.cause, spike_rows(v.arm)) for v in ran(views) if v.arm.cause or v.arm.spikes)


def spike_rows(arm: ArmSummary) -> tuple[SpikeRow, ...]:
    """Every spike of an arm in words."""
    return tuple(
        SpikeRow(f"{s.step:,}", f"{s.loss:.3f}", f"{s.usual:.3f}", tuple(f"{where(r)} ({r.loss:.2f})" for r in s.rows))
        for s in arm.spikes
    )


def hardest_rows(arm: ArmSummary) -> str:
    """The validation rows that an arm's checkpoint finds least likely, with their losses; empty without any."""
    return "; ".join(f"{where(row)} ({row.loss:.2f})" for row in arm.hardest)


def where(row: RowLoss) -> str:
    """'rows.jsonl, line 12', or the id of a row that came from no file."""
    return f"{Path(row.path).name}, line {row.line}" if row.path else f"row {row.id}"
