"""The records of a training: a row for every step, every step that was skipped or stood out, and
every validation.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from typing_extensions import override

from keeptune.core.files import write_whole
from keeptune.core.records import Record, SkippedRecord, SpikeRecord, StepRecord, ValidationRecord, write_records
from keeptune.tracking.base import TRACKERS, Run, Tracker

STEPS, VALIDATION, SKIPPED, SPIKES = FILES = ("steps.jsonl", "validation.jsonl", "skipped.jsonl", "spikes.jsonl")
LONGEST_ROW = 4096  # bytes


@TRACKERS.register("records")
class RecordWriter(Tracker):
    """steps.jsonl and validation.jsonl in the training's folder, skipped.jsonl where a step was, and spikes.jsonl where
    a loss stood out; its state is how many rows they have.
    """

    def __init__(self) -> None:
        self._rows = dict.fromkeys(FILES, 0)

    @override
    def on_start(self, run: Run) -> None:
        """Begin with empty files, or with the rows up to the state that was loaded: no others are left there."""
        for file, rows in self._rows.items():
            path = run.folder / file
            if file in (SKIPPED, SPIKES) and not rows:
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
    def after_spike(self, run: Run, record: SpikeRecord) -> None:
        self._append(run, SPIKES, record)

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


def last_step(folder: Path) -> StepRecord | None:
    """The last step that a training has written down in its folder, by whatever process; None where there is none."""
    try:
        with (folder / STEPS).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_ROW))
            rows = file.read().splitlines(keepends=True)
        return next((StepRecord.model_validate_json(row) for row in reversed(rows) if row.endswith(b"\n")), None)
    except (OSError, ValidationError):  # not begun, or a file system that shows half of a write
        return None
