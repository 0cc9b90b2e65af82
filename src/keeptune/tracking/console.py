"""The progress bar: loss, tokens per second, time left."""

from __future__ import annotations

import statistics
from collections import deque

from rich.console import Console
from typing_extensions import override

from keeptune.core.lines import print_line
from keeptune.core.records import StepRecord, ValidationRecord
from keeptune.core.units import human_count
from keeptune.tracking.bars import Bars
from keeptune.tracking.base import TRACKERS, Run, Tracker


@TRACKERS.register("console")
class Progress(Tracker):
    """One bar per training, and one line at its end; plain consoles (a file, a CI log) get the line alone."""

    def __init__(self, console: Console | None = None, title: str | None = None) -> None:
        self.console, self.title = console or Console(), title

    @override
    def on_start(self, run: Run) -> None:
        self._speeds: deque[float] = deque(maxlen=20)  # tokens per second of the latest steps
        self._losses: deque[float] = deque(maxlen=20)
        self._validation = ""
        self._bar = Bars(self.console)
        self._task = self._bar.add_task(self.title or run.label, total=run.steps, note="")
        self._bar.start()

    @override
    def after_step(self, run: Run, record: StepRecord) -> None:
        self._speeds.append(record.tokens / record.seconds)
        self._losses.append(record.loss)
        self._bar.update(self._task, completed=record.step, note=self._note())

    @override
    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        self._validation = f"validation {record.loss:.3f}{' (best)' if record.best else ''}"
        self._bar.update(self._task, note=self._note())

    @override
    def on_end(self, run: Run) -> None:
        """Leave the last note on the console."""
        self._bar.stop()
        print_line(f"{self.title or run.label}: {self._note()}", self.console)

    def _note(self) -> str:
        if not self._losses:
            return self._validation
        loss, speed = statistics.fmean(self._losses), statistics.median(self._speeds)
        return ", ".join(filter(None, (f"loss {loss:.3f}", self._validation, f"{human_count(speed)} tokens/s")))
