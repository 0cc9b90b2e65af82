"""The records of a training: a row for every step, every step that was skipped, and every validation."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from keeptune.core.files import write_whole
from keeptune.core.records import Record, SkippedRecord, StepRecord, ValidationRecord, write_records
from keeptune.tracking.base import TRACKERS, Run, Tracker

STEPS, VALIDATION, SKIPPED = FILES = ("steps.jsonl", "validation.jsonl", "skipped.jsonl")


@TRACKERS.register("records")
class RecordWriter(Tracker):
    """steps.jsonl and validation.jsonl in the training's folder, and skipped.jsonl where a step was; its state is how
    many rows they have.
    """

    def __init__(self) -> None:
        self._rows = dict.fromkeys(FILES, 0)

    @override
    def on_start(self, run: Run) -> None:
        """Begin with empty files, or with the rows up to the state that was loaded: no others are left there."""
        for file, rows in self._rows.items():
            path = run.folder / file
            if file == SKIPPED and not rows:
                path.unlink(missing_ok=True)
                continue
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if rows else []
            write_whole(path, "".join(lines[:rows]))

    @override
    def after_step(self, run: Run, record: StepRecord) -> None:
        self._append(run, STEPS, record)

    @override
    def after_skip(self, run: Run, record: SkippedRecord) -> None:
        self._append(run, SKIPPED, record)

    @override
    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        self._append(run, VALIDATION, record)

    @override
    def on_end(self, run: Run) -> None:
        """The next training begins with empty files."""
        self._rows = dict.fromkeys(self._rows, 0)

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return dict(self._rows)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the rows that there were."""
        self._rows = {file: state[file] for file in self._rows}

    def _append(self, run: Run, file: str, record: Record) -> None:
        """Write a row at once."""
        write_records(run.folder / file, [record], append=True)
        self._rows[file] += 1
