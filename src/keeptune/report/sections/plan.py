"""What every arm was expected to need, beside what it needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeptune.core.records import ArmPlan, Summary
from keeptune.core.units import human_bytes, human_seconds
from keeptune.report.arms import ArmView, named
from keeptune.report.formatting import MISSING
from keeptune.report.sections.costs import maybe


@dataclass(frozen=True)
class PlanRow:
    """One planned arm."""

    arm: str
    trials: int
    memory: str
    memory_measured: str
    seconds: str
    seconds_measured: str  # of the training that was kept
    dropped: str
    status: str | None  # why it was not run


def plan(summary: Summary, views: Sequence[ArmView]) -> tuple[PlanRow, ...]:
    """A row per planned arm, in the order of the plan."""
    return tuple(_row(arm, views) for arm in summary.plans)


def _row(arm: ArmPlan, views: Sequence[ArmView]) -> PlanRow:
    found = named(views, arm.arm)
    costs = found.arm.costs if found else None
    left_out = next((v.not_run for v in views if v.not_run and arm.arm in (v.arm.arm, v.arm.name)), None)
    return PlanRow(
        arm=arm.arm,
        trials=arm.trials,
        memory=maybe(arm.memory_bytes, human_bytes),
        memory_measured=maybe(costs.peak_memory_bytes, human_bytes) if costs else MISSING,
        seconds=maybe(arm.seconds, human_seconds),
        seconds_measured=maybe(costs.train_seconds, human_seconds) if costs else MISSING,
        dropped=", ".join(arm.dropped),
        status=None if found else left_out or (None if arm.fits else "does not fit"),
    )
