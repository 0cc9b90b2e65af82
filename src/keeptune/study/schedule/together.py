"""One job at a time, by several processes together: the ranks of a world train one model and share every evaluation.

The main process runs the study; the others `follow` it. A job finds and leaves everything on disk below the run's
folder, which all processes see; the main one alone writes.
"""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console

from keeptune.inference.spread import spread
from keeptune.launch.world import World
from keeptune.study.jobs.base import Job
from keeptune.study.messages import Messages
from keeptune.study.prepare import Prepared, load_base, workplace_of
from keeptune.study.schedule.layout import sharding_of
from keeptune.study.schedule.runner import Schedule
from keeptune.study.workplace import Workplace


class Together:
    """A `Runner` of the main process: every job is also given to those that follow."""

    workers = sharing = 1  # a process plans for what is free on its own machine or GPU

    def __init__(self, prepared: Prepared, workplace: Workplace, world: World) -> None:
        sharding = sharding_of(prepared.config, workplace.parameters, world.size)
        self.workplace, self.world = workplace.shared(world, sharding), world
        self.threads = torch.get_num_threads()
        self._failed = False
        _tell(world, (prepared, sharding))

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """In the order of the schedule; a job is done when all processes have done it."""
        for job in filter(schedule.wants, schedule.order(jobs)):
            _tell(self.world, job)
            try:
                newly_done = _perform(job, self.workplace)
            except BaseException:
                self._failed = True
                raise
            schedule.did(job, newly_done)

    def close(self) -> None:
        """Let the others end; after an error there is nobody who listens."""
        if not self._failed:
            _tell(self.world, None)


def follow(world: World) -> None:
    """The life of any other process: do the jobs that the main one does, until there are none."""
    logging.getLogger("keeptune").setLevel(logging.ERROR)  # the main process says it
    prepared, sharding = _told(world)
    messages = Messages(Console(file=io.StringIO()))
    workplace = workplace_of(prepared, load_base(prepared), messages).shared(world, sharding)
    while (job := _told(world)) is not None:
        _perform(job, workplace)


def _perform(job: Job, workplace: Workplace) -> bool:
    with spread(workplace.lm, workplace.world):
        newly_done = job.perform(workplace)
    workplace.world.wait()
    return newly_done


def _tell(world: World, what: object) -> None:
    world.first(lambda: pickle.dumps(what))


def _told(world: World) -> Any:
    """What the main process of the same job sent: it comes from the same code, started by the same user."""
    return pickle.loads(world.first(bytes))
