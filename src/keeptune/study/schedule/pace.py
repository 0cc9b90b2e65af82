"""How the jobs of a plan go: how long they take against it, and how long the rest of them will."""

from __future__ import annotations

from collections.abc import Callable

from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.estimates import Estimates


class Pace:
    """Takes note of jobs as they begin and end.

    Args:
        estimates: what the plan has for them.
        workers: jobs at the same time.
        clock: seconds since the study started.
    """

    def __init__(self, estimates: Estimates, workers: int, clock: Callable[[], float]) -> None:
        self._estimates, self._workers, self._clock = estimates, workers, clock
        self._running: dict[Job, float] = {}  # when it began
        self._done: set[Job] = set()
        self._expected = self._taken = 0.0  # seconds of what was done: in the plan, and by the clock

    def began(self, job: Job) -> None:
        """A job is at work from now on."""
        self._running[job] = self._clock()

    def did(self, job: Job, newly_done: bool, recipe: StudyConfig) -> None:
        """A job is done; one that was done by an earlier run says nothing about the pace."""
        began = self._running.pop(job)
        self._done.add(job)
        expected = job.seconds(self._estimates, recipe)
        if newly_done and expected:
            self._expected += expected
            self._taken += self._clock() - began

    @property
    def factor(self) -> float:
        """How many times as long as planned jobs take."""
        return self._taken / self._expected if self._expected else 1.0

    def rest(self, recipe: StudyConfig) -> float:
        """Seconds, with all workers, that what is left of a recipe will take."""
        estimates, now = self._estimates, self._clock()
        done = sum(job.seconds(estimates, recipe) for job in list(self._done) if job.belongs_to(recipe))
        begun = sum(
            min(now - began, self.factor * job.seconds(estimates, recipe))
            for job, began in list(self._running.items())
            if job.belongs_to(recipe)
        )
        return (self.factor * (estimates.total(recipe) - done) - begun) / self._workers
