"""The line of a whole study: how many trainings and tests are done, of how many, and the time left."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Amount, Job
from keeptune.study.jobs.sequence import sequence_jobs
from keeptune.study.schedule.runner import Paced
from keeptune.study.tuning import first_trials
from keeptune.tracking.bars import Bars

log = logging.getLogger(__name__)


class Total:
    """A `runner.Schedule` that does as another one says, and shows how far the study is.

    Args:
        schedule: the other one.
        console: where the line stands.
        base: what the base is asked.
        targets: the tasks to learn.
        rows: to train on; sizes of a learning curve that are not below it are no trainings of their own.
    """

    def __init__(
        self, schedule: Paced, console: Console, base: Amount, targets: Sequence[str], rows: float = math.inf
    ) -> None:
        self._schedule, self._console = schedule, console
        self._base, self._targets, self._rows = base, targets, rows
        self._done = self._begun = Amount()
        self._searched: int | None = None  # trainings of a search that is over

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Within, the line stands on the console; it is gone afterwards."""
        with Bars(self._console) as self._bars:
            self._line = self._bars.add_task("study", note="", left=self._left)
            self._update()
            yield

    def go_by(self, schedule: Paced) -> None:
        """From now on another schedule decides; by its plan the line says what is left."""
        self._schedule = schedule
        self._update()

    @property
    def recipe(self) -> StudyConfig:
        """What is left of the recipe."""
        return self._schedule.recipe

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """As the schedule says."""
        return self._schedule.order(jobs)

    def wants(self, job: Job) -> bool:
        """As the schedule says; it may have dropped others, too."""
        wanted = self._schedule.wants(job)
        if wanted:
            self._begun += job.amount
        self._update()
        return wanted

    def did(self, job: Job, newly_done: bool) -> None:
        """One more is done."""
        self._schedule.did(job, newly_done)
        self._done += job.amount
        log.info("%s: %s; %s", job.name, "done" if newly_done else "was done before", self._update())

    def search_ended(self, trainings: int) -> None:
        """The search is over, and no more trainings of it are to come."""
        self._schedule.search_ended(trainings)
        self._searched = trainings

    def _update(self) -> str:
        """Write the numbers anew; what turns out to be more than expected was not known before."""
        done = self._done
        all_of = self._base + expected(self.recipe, self._targets, self._rows, self._searched)
        trainings, tests = (max(all_of.trainings, self._begun.trainings), max(all_of.tests, self._begun.tests))
        parts = [f"{done.trainings} of {trainings} trainings"] if trainings else []
        note = ", ".join([*parts, f"{done.tests} of {tests} tests"])
        self._bars.update(self._line, completed=done.trainings + done.tests, total=trainings + tests, note=note)
        return note

    def _left(self) -> float | None:
        """Seconds; None before there is a plan."""
        pace = self._schedule.pace
        return None if pace is None else pace.rest(self.recipe)


def expected(
    config: StudyConfig, targets: Sequence[str], rows: float = math.inf, searched: int | None = None
) -> Amount:
    """What a recipe comes to, beside what the base is asked.

    Args:
        config: what is left of it.
        targets: the tasks to learn.
        rows: to train on.
        searched: trainings of a search that is over; what it found is counted when it comes.
    """
    arms, later = config.training_arms, len(config.seeds) - 1
    trained = {arm.trained for arm in arms}
    found = Amount(len(first_trials(config)) + later * len(trained), len(arms) * len(config.seeds))
    if config.curve is not None:
        sizes = sum(size < rows for size in config.curve.sizes)
        kept = sum(arm.name in config.curve.arms for arm in arms)
        found += Amount(sizes * kept, sizes * kept)
    if searched is not None:
        found += Amount(searched)
    elif config.searches:
        found += Amount(config.search.trainings + later, 1 + later)
    for job in sequence_jobs(config, targets):
        found += job.amount
    return found
