"""A budget of time while jobs are done: what no longer fits is dropped, in the order of the plan.

Jobs begin in the reverse of that order, so that what would be dropped first is done last. Before a training begins,
what is left of the plan is compared with the time that is left, at the pace of the jobs that were done. If it does not
fit, what comes first in the order is given up in thought, then the next, until the rest fits; a training that is among
what was given up is not run, and with it all that comes before it in the order. Nothing is dropped before its turn: a
slow beginning may be caught up. What the plan keeps in any case is always run, and what was trained is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from keeptune.core.records import write_json
from keeptune.core.units import human_seconds, parse_duration
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.pace import Pace
from keeptune.study.schedule.plan import FILE, PlanRecord


class Deadline:
    """The schedule of a study that has a budget (see `runner.Schedule`). Shrinks its recipe and plan.json.

    Args:
        folder: of the run; plan.json is there.
        config: the recipe before the plan, with a budget.
        planned: the plan.
        workers: jobs at the same time.
        clock: seconds since the study started.
        warn: told what is dropped.
    """

    def __init__(
        self,
        folder: Path,
        config: StudyConfig,
        planned: PlanRecord,
        workers: int,
        clock: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        if config.budget is None:
            raise ValueError("a recipe without a budget has no deadline")
        self.path, self.config, self.planned = folder / FILE, config, planned
        self.workers, self.clock, self.warn = workers, clock, warn
        self.pace = Pace(planned.estimates, workers, clock)
        self.budget = parse_duration(config.budget)
        self.recipe = planned.apply(config)
        self._steps = planned.steps(config)

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """What is dropped last comes first."""
        return sorted(jobs, key=lambda job: -sum(job.belongs_to(config) for config, _ in self._steps))

    def wants(self, job: Job) -> bool:
        """Whether the recipe still has the job, and the time that is left still has room for it."""
        gone = next((n for n, (config, _) in enumerate(self._steps) if not job.belongs_to(config)), None)
        if gone is not None and gone <= self._too_many():
            self._drop(gone)
            return False
        self.pace.began(job)
        return True

    def did(self, job: Job, newly_done: bool) -> None:
        """See `Pace.did`."""
        self.pace.did(job, newly_done, self.recipe)

    def search_ended(self, trainings: int) -> None:
        """What the plan has for the rest of the search is there for others."""

        def shorter(config: StudyConfig) -> StudyConfig:
            left = min(trainings, config.search.trainings)
            return config.model_copy(update={"search": config.search.model_copy(update={"trainings": left})})

        self.recipe = shorter(self.recipe)
        self._steps = [(shorter(config), what) for config, what in self._steps]

    def _too_many(self) -> int:
        """How many steps of dropping the time that is left asks for; all of them where no number would do."""
        left = self.budget - self.clock()
        return next(
            (n for n, (config, _) in enumerate(self._steps) if self.pace.rest(config) <= left), len(self._steps)
        )

    def _drop(self, steps: int) -> None:
        names = [what for _, what in self._steps[1 : steps + 1]]
        if not names:  # dropped before
            return
        left = max(0.0, self.budget - self.clock())
        self.warn(
            f"budget: jobs take {self.pace.factor:.1f} times as long as planned, the rest would need"
            f" {human_seconds(self.pace.rest(self.recipe))}, and {human_seconds(left)} are left;"
            f" not run: {', '.join(names)}"
        )
        self.planned = self.planned.less(self.config, self._steps[steps][0], names, self.workers)
        write_json(self.path, self.planned)
        self.recipe = self.planned.apply(self.config)
        self._steps = self._steps[steps:]
