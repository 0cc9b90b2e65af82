"""What was kept, suite by suite, and the warning drift beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from keeptune.core.records import Drift, SuiteVerdict
from keeptune.report.arms import ArmView, ran, records_file, with_suites
from keeptune.report.formatting import plain, unit_of_changes
from keeptune.report.plots import change_axis_strip, change_scale, change_strip

WIDE_COLUMNS = 4  # arms that fit side by side with their strips


@dataclass(frozen=True)
class Cell:
    """A verdict (or None, where the arm did not answer the suite) and where its items are."""

    view: ArmView
    verdict: SuiteVerdict | None
    mark: Markup  # the change, on the axis that all cells share
    file: str


@dataclass(frozen=True)
class SuiteRow:
    """One retained suite: what it was before, and a cell for every arm."""

    suite: str
    first: SuiteVerdict
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Suites:
    """The matrix of verdicts; with many arms it is turned, and its sentences are folded away below."""

    rows: tuple[SuiteRow, ...]
    arms: tuple[ArmView, ...]
    left_out: tuple[ArmView, ...]  # not run
    axis: Markup  # of every column of strips

    @property
    def turned(self) -> bool:
        """Whether the arms are rows of narrow cells."""
        return len(self.arms) + len(self.left_out) > WIDE_COLUMNS

    @property
    def unit(self) -> str:
        """Of the changes."""
        return unit_of_changes({row.first.relative for row in self.rows}, "points, or per cent where marked")

    def said(self, word: str) -> bool:
        """Whether a suite has this verdict."""
        return any(cell.verdict is not None and cell.verdict.verdict == word for row in self.rows for cell in row.cells)

    def of(self, index: int) -> tuple[Cell, ...]:
        """The cells of one arm, suite by suite."""
        return tuple(row.cells[index] for row in self.rows)


def suites(views: Sequence[ArmView], run: Path) -> Suites | None:
    """Suites by arms; arms that have no suites and were run are not in it."""
    arms = with_suites(views)
    names = dict.fromkeys(verdict.suite for v in arms for verdict in v.arm.suites)
    axis = change_scale(verdict for v in arms for verdict in v.arm.suites)
    rows = []
    for name in names:
        found = [next((verdict for verdict in v.arm.suites if verdict.suite == name), None) for v in arms]
        first = next(verdict for verdict in found if verdict is not None)
        cells = [
            Cell(v, verdict, change_strip(axis, verdict) if verdict else Markup(""), records_file(run, v.arm, name))
            for v, verdict in zip(arms, found, strict=True)
        ]
        rows.append(SuiteRow(name, first, tuple(cells)))
    left_out = tuple(v for v in views if v.not_run)
    if not rows:
        return None
    largest = max(verdict.margin for v in arms for verdict in v.arm.suites)
    return Suites(tuple(rows), tuple(arms), left_out, change_axis_strip(axis, largest))


@dataclass(frozen=True)
class DriftRow:
    """How far one arm's predictions moved away from the base's."""

    view: ArmView
    drift: Drift
    kl: str
    weight: str


def drifts(views: Sequence[ArmView]) -> tuple[DriftRow, ...]:
    """The arms whose distance from the base was measured."""
    rows = []
    for v in ran(views):
        drift = v.arm.drift
        if drift is not None:
            rows.append(DriftRow(v, drift, plain(drift.kl), plain(drift.weight_l2, 2)))
    return tuple(rows)
