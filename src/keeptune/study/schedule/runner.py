"""Who does the jobs of a study, and which of them: seams for other places to run and other reasons to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.pace import Pace
from keeptune.study.workplace import Workplace


class Schedule(Protocol):
    """Decides what is done of the jobs that a runner is given (see `deadline`)."""

    @property
    def recipe(self) -> StudyConfig:
        """What is left of the recipe."""
        ...

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """The jobs in the order in which they begin."""
        ...

    def wants(self, job: Job) -> bool:
        """Whether a job that is about to begin is to be done."""
        ...

    def did(self, job: Job, newly_done: bool) -> None:
        """Take note that a job is done; ``newly_done``: its result was not there."""
        ...

    def search_ended(self, trainings: int) -> None:
        """Take note that the search asks for no more than so many trainings."""
        ...


class Paced(Schedule, Protocol):
    """A schedule that knows how its jobs go."""

    @property
    def pace(self) -> Pace | None:
        """Against the plan; None before there is one."""
        ...


class Everything:
    """All jobs, as they come."""

    def __init__(self, recipe: StudyConfig, pace: Pace | None = None) -> None:
        self.recipe, self.pace = recipe, pace

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """As given."""
        return jobs

    def wants(self, job: Job) -> bool:
        """Always."""
        if self.pace is not None:
            self.pace.began(job)
        return True

    def did(self, job: Job, newly_done: bool) -> None:
        """See `Pace.did`."""
        if self.pace is not None:
            self.pace.did(job, newly_done, self.recipe)

    def search_ended(self, trainings: int) -> None:
        """Nothing to note."""


class Runner(Protocol):
    """Does jobs in whatever order and place; those that are done when it returns have left their results.

    A job says what it needs: `Job.seconds` of a plan, and through its arm the memory (`Estimates.memory`).
    """

    workers: int  # jobs at the same time
    threads: int  # of each
    sharing: int  # of them at most that have the memory of one machine, or of one GPU, together

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """Do all of them that the schedule wants.

        Raises:
            Exception: the first error of a job; what other jobs finished is kept.
        """
        ...

    def close(self) -> None:
        """Nothing more is to be done."""
        ...


class InProcess:
    """One job after another, here."""

    workers = sharing = 1

    def __init__(self, workplace: Workplace) -> None:
        self.workplace, self.threads = workplace, torch.get_num_threads()

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """In the order of the schedule."""
        for job in filter(schedule.wants, schedule.order(jobs)):
            schedule.did(job, job.perform(self.workplace))

    def close(self) -> None:
        """Nothing was opened."""
