"""The jobs of a study that are at work, each on a line with where it is; how many are done says `total`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import TaskID

from keeptune.core.records import StepRecord
from keeptune.core.units import human_count
from keeptune.study.jobs.base import Job
from keeptune.tracking.bars import Bars
from keeptune.tracking.records import last_step


class Board:
    """One line for each job at work; of a training also the last step that it wrote down. Nothing on plain consoles.

    Args:
        console: where it is shown.
        arms: the folders of trainings are directly in it, each under the name of its job.
    """

    def __init__(self, console: Console, arms: Path) -> None:
        self._console, self._arms = console, arms
        self._rows: dict[Job, TaskID] = {}

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Within, the lines stand on the console; they are gone afterwards."""
        with Bars(self._console) as self._bars:
            self._rows.clear()
            yield

    def began(self, job: Job, place: str) -> None:
        """A job is at work."""
        self._rows[job] = self._bars.add_task(f"{job.name} ({place})", total=None, note="")

    def ended(self, job: Job) -> None:
        """A job is no longer at work: it is done, or its worker was lost."""
        self._bars.remove_task(self._rows.pop(job))

    def update(self) -> None:
        """See how far the trainings are."""
        if self._bars.disable:
            return
        for job, row in self._rows.items():
            step = last_step(self._arms / job.name)
            if step is not None:
                self._bars.update(row, note=_note(step))


def _note(step: StepRecord) -> str:
    return f"step {step.step}, loss {step.loss:.3f}, {human_count(step.tokens / step.seconds)} tokens/s"
