"""The table of a study's progress: how many jobs are done, and every job that is at work, with where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from keeptune.core.records import StepRecord
from keeptune.core.units import human_count
from keeptune.study.jobs.base import Job
from keeptune.tracking.records import last_step


class Board:
    """One row for each job at work; of a training also the last step that it wrote down. Nothing on plain consoles.

    Args:
        console: where it is shown.
        arms: the folders of trainings are directly in it, each under the name of its job.
    """

    def __init__(self, console: Console, arms: Path) -> None:
        self._console, self._arms = console, arms
        self._rows: dict[Job, TaskID] = {}

    @contextmanager
    def showing(self, jobs: int) -> Iterator[None]:
        """Within, the table stands on the console; it is gone afterwards."""
        columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[note]}"))
        with Progress(
            *columns,
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        ) as self._table:
            self._all = self._table.add_task("jobs", total=jobs, note=f"0 of {jobs}")
            self._done, self._jobs = 0, jobs
            self._rows.clear()
            yield

    def began(self, job: Job, place: str) -> None:
        """A job is at work."""
        self._rows[job] = self._table.add_task(f"{job.name} ({place})", total=None, note="")

    def ended(self, job: Job, *, done: bool) -> None:
        """A job is no longer at work: it is done, or its worker was lost."""
        self._table.remove_task(self._rows.pop(job))
        self._done += done
        self._table.update(self._all, completed=self._done, note=f"{self._done} of {self._jobs}")

    def update(self) -> None:
        """See how far the trainings are."""
        if self._table.disable:
            return
        for job, row in self._rows.items():
            step = last_step(self._arms / job.name)
            if step is not None:
                self._table.update(row, note=_note(step))


def _note(step: StepRecord) -> str:
    return f"step {step.step} loss {step.loss:.3f} {human_count(step.tokens / step.seconds)} tokens/s"
