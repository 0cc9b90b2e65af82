"""What the base is asked before anything trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from keeptune.core.records import Part
from keeptune.evaluate.prompts import Wording
from keeptune.study.baseline import measure
from keeptune.study.jobs.base import Amount, Unplanned
from keeptune.study.workplace import Workplace


@dataclass(frozen=True)
class ScoreBase(Unplanned):
    """Scores of the base on a part of a task; they go into the cache of base scores."""

    task: str
    part: Part
    shots: int = 0
    draw: int = 0
    wording: Wording = "fixed"

    amount: ClassVar = Amount(tests=1)

    @property
    def name(self) -> str:
        """As progress shows it."""
        return f"base on {self.task}, {self.part}" + (f", {self.shots}-shot" if self.shots else "")

    def perform(self, workplace: Workplace) -> bool:
        """Score the base."""
        workplace.scorer.evaluate(self.task, self.part, shots=self.shots, draw=self.draw, wording=self.wording)
        return True


@dataclass(frozen=True)
class WriteTexts(Unplanned):
    """The texts that remedies draw on and that the base writes, before anything is trained on them."""

    name = "texts of the base's own"

    def perform(self, workplace: Workplace) -> bool:
        """Write them, unless they were written once for this base."""
        workplace.rehearsal.own.rows(workplace.config.seeds[0])
        return True


@dataclass(frozen=True)
class MeasureBaseline(Unplanned):
    """Everything that later models are compared with: `baseline.measure`."""

    name = "baseline"

    def perform(self, workplace: Workplace) -> bool:
        """Measure it and write it down."""
        rows = workplace.data.validation_rows(workplace.config.seeds[0])
        return measure(workplace.ledger, workplace.scorer, rows)
