"""keeptune's side of `study.py`: the command line as it is, with a clock beside its jobs.

    python -m sides.study_keeptune TIMES.json STARTED study RECIPE --out RUN

STARTED is the `time.time` at which the command was given. TIMES.json gets the seconds from then until the first job,
and those of all jobs by their kind, whichever process did them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.runner import Runner, Schedule


class Clock:
    """A schedule that notes when jobs begin and end, and decides nothing."""

    def __init__(self, schedule: Schedule, seconds: dict[str, float]) -> None:
        self._schedule, self._seconds = schedule, seconds
        self._begun: dict[Job, float] = {}

    @property
    def recipe(self) -> StudyConfig:
        """The schedule's."""
        return self._schedule.recipe

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """The schedule's."""
        return self._schedule.order(jobs)

    def wants(self, job: Job) -> bool:
        """The schedule's; the job begins now."""
        self._begun[job] = time.perf_counter()
        return self._schedule.wants(job)

    def did(self, job: Job, newly_done: bool) -> None:
        """The job ends now."""
        self._seconds[type(job).__name__] += time.perf_counter() - self._begun.pop(job)
        self._schedule.did(job, newly_done)

    def search_ended(self, trainings: int) -> None:
        """The schedule's."""
        self._schedule.search_ended(trainings)


class Timed:
    """A runner whose jobs are timed."""

    def __init__(self, runner: Runner, seconds: dict[str, float], started: float) -> None:
        self._runner, self._seconds, self._started = runner, seconds, started
        self.workers, self.threads, self.sharing = runner.workers, runner.threads, runner.sharing

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """By the runner."""
        self._seconds.setdefault("start", time.time() - self._started)
        self._runner.run(jobs, Clock(schedule, self._seconds))

    def close(self) -> None:
        """The runner's."""
        self._runner.close()


def main() -> None:
    """Run the command, and write the times down."""
    times, started = Path(sys.argv[1]), float(sys.argv[2])
    sys.argv[:3] = ["keeptune"]
    seconds: dict[str, float] = defaultdict(float)
    from keeptune.study import run

    choose = run.choose_runner

    def timed(*arguments: object, **named: object) -> Timed:
        return Timed(choose(*arguments, **named), seconds, started)  # type: ignore[arg-type]

    run.choose_runner = timed  # type: ignore[assignment]
    from keeptune.cli.main import main as command

    try:
        command()
    finally:
        times.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
