"""What may watch a run: four hooks, and the record writer that is always there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keeptune.core.records import StepRecord, ValidationRecord, write_records
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel


@dataclass(frozen=True)
class Run:
    """What a callback is told about the run it watches."""

    lm: LanguageModel
    method: Method  # that the model is adapted by
    folder: Path
    steps: int  # planned optimiser steps
    arm: str = ""  # as the recipe names it
    lr: float = 0.0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)  # of training, as JSON

    @property
    def label(self) -> str:
        """The arm, or the method where there is no arm."""
        return self.arm or self.method.describe()


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
