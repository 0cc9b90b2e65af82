"""Jobs given to a runner under a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.runner import Runner, Schedule


@dataclass(frozen=True)
class Work:
    """Who does the jobs, and what is left of the recipe that they come from."""

    runner: Runner
    schedule: Schedule

    @property
    def recipe(self) -> StudyConfig:
        """The recipe, without what a budget dropped so far."""
        return self.schedule.recipe

    def do(self, jobs: Sequence[Job]) -> None:
        """Do all jobs that the schedule wants; their results are on disk afterwards."""
        self.runner.run(jobs, self.schedule)
