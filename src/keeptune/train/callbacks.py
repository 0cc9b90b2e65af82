"""What may watch a run: four hooks, and the record writer that is always there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keeptune.core.records import StepRecord, ValidationRecord, write_records
from keeptune.models.language_model import LanguageModel


@dataclass(frozen=True)
class Run:
    """What a callback is told about the run it watches."""

    lm: LanguageModel
    folder: Path
    label: str  # the method, as people read it
    steps: int  # planned optimiser steps


class Callback:
    """Base of all callbacks: every hook does nothing. An absent feature is an absent object."""

    def on_start(self, run: Run) -> None:
        """Before the first step."""

    def after_step(self, run: Run, record: StepRecord) -> None:
        """After every optimiser step."""

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """After every validation."""

    def on_end(self, run: Run) -> None:
        """After the last step, also when training diverged or was interrupted."""


class RecordWriter(Callback):
    """steps.jsonl and validation.jsonl in the run's folder."""

    def on_start(self, run: Run) -> None:
        """Begin with empty files: an arm that is run again leaves no rows of its earlier self."""
        for name in ("steps.jsonl", "validation.jsonl"):
            write_records(run.folder / name, [])

    def after_step(self, run: Run, record: StepRecord) -> None:
        """One row per step, written at once."""
        write_records(run.folder / "steps.jsonl", [record], append=True)

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """One row per validation, written at once."""
        write_records(run.folder / "validation.jsonl", [record], append=True)
