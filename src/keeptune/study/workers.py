"""Who does the jobs of a study: this process, or several of its own. Another place to run them is another `Runner`.

Jobs find and leave everything on disk below the run's folder, so a runner has nothing to bring back but what was said.
Small models leave cores idle: two processes with one thread each train about 1.7 times as much as one with two.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keeptune.core import allocator
from keeptune.core.errors import ConfigError
from keeptune.core.processes import be_a_worker
from keeptune.study.bench import Bench
from keeptune.study.config import StudyConfig
from keeptune.study.jobs import Job
from keeptune.study.settled import settle_workers
from keeptune.train.memory import total_bytes

SMALL = 100_000_000  # parameters: a larger model keeps all cores busy by itself
MOST = 8  # processes
OVERHEAD = 700_000_000  # bytes: libraries and data of a process
PER_PARAMETER = 26  # bytes: masters, moments, sums and gradients of full fine-tuning, and a copy of the base


@dataclass(frozen=True)
class _Report:
    """What a process brings back of a job."""

    anew: bool
    said: list[str]
    warnings: list[str]


class Schedule(Protocol):
    """Decides what is done of the jobs that a runner is given (see `deadline`)."""

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """The jobs in the order in which they begin."""
        ...

    def wants(self, job: Job) -> bool:
        """Whether a job that is about to begin is to be done."""
        ...

    def did(self, job: Job, anew: bool) -> None:
        """Take note that a job is done; ``anew``: its result was not there."""
        ...


class Everything:
    """All jobs, as they come."""

    def order(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """As given."""
        return jobs

    def wants(self, job: Job) -> bool:
        """Always."""
        return True

    def did(self, job: Job, anew: bool) -> None:
        """Nothing to note."""


class Runner(Protocol):
    """Does jobs in whatever order and place; those that are done when it returns have left their results."""

    workers: int  # jobs at the same time
    schedule: Schedule

    def run(self, jobs: Sequence[Job]) -> None:
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

    workers = 1

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.schedule: Schedule = Everything()

    def run(self, jobs: Sequence[Job]) -> None:
        """In the order of the schedule."""
        for job in filter(self.schedule.wants, self.schedule.order(jobs)):
            self.schedule.did(job, job.perform(self.bench))

    def close(self) -> None:
        """Nothing was opened."""


class Processes:
    """Several jobs at a time, each process with its share of the threads and with a model of its own."""

    def __init__(self, bench: Bench, workers: int, data_root: Path) -> None:
        self.bench, self.workers, self._stopped = bench, workers, False
        self.schedule: Schedule = Everything()
        threads = max(1, torch.get_num_threads() // workers)
        settings = (bench.config, bench.folder.resolve(), data_root.resolve(), threads, Path.cwd(), allocator.kept())
        self._pool = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=settings
        )

    def run(self, jobs: Sequence[Job]) -> None:
        """As processes get free; what a job said is printed when it is done."""
        left = filter(self.schedule.wants, self.schedule.order(jobs))  # asked when a process is free
        running: dict[Future[_Report], Job] = {}
        console = self.bench.console
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            shown = bar.add_task("jobs", total=len(jobs))

            def start() -> None:
                for job in itertools.islice(left, self.workers - len(running)):
                    running[self._pool.submit(_perform, job)] = job

            try:
                start()
                while running:
                    done = wait(running, return_when=FIRST_COMPLETED).done
                    for future in [each for each in running if each in done]:  # an error before what it led to
                        job = running.pop(future)
                        self._take(job, future.result())
                        bar.update(shown, advance=1, description=f"done: {job.name}")
                    start()
            except BrokenProcessPool as error:
                self._stop()
                raise ConfigError(
                    "a worker process ended before its time",
                    where="workers",
                    remedy="in a script begin below `if __name__ == '__main__':`; where memory ran out, set workers: 1",
                ) from error
            except BaseException:
                self._stop()
                raise

    def close(self) -> None:
        """End the processes."""
        if not self._stopped:
            self._pool.shutdown()

    def _take(self, job: Job, report: _Report) -> None:
        for line in report.said:
            self.bench.say(line)
        for line in report.warnings:
            self.bench.warn(line)
        self.schedule.did(job, report.anew)

    def _stop(self) -> None:
        """No further job begins, and those that run end at once: their arms start again when the study goes on."""
        self._stopped = True
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def choose_runner(bench: Bench, data_root: Path) -> Runner:
    """As the recipe says; by default several processes where a small model on a CPU has several trainings to do."""
    config = bench.config
    workers = settle_workers(bench.folder, _fitting(bench)) if config.workers == "auto" else config.workers
    trials = sum(len(config.rates(spec.method)) + len(config.seeds) - 1 for spec in config.specs)
    chains = len(config.sequence.arms) * max(1, len(config.sequence.orders)) if config.sequence else 0
    workers = min(workers, max(trials, chains, 1))
    return Processes(bench, workers, data_root) if workers > 1 else InProcess(bench)


def _fitting(bench: Bench) -> int:
    if bench.lm.device.type != "cpu" or bench.parameters > SMALL:
        return 1
    whole = total_bytes()  # what is free now is another figure a minute later, and threads decide the last bits
    room = MOST if whole is None else int(whole // 2 // (OVERHEAD + PER_PARAMETER * bench.parameters))
    return max(1, min(torch.get_num_threads(), MOST, room))


_bench: Bench | None = None  # of this process, where it is a worker


def _start(config: StudyConfig, folder: Path, data_root: Path, threads: int, place: Path, keep_memory: bool) -> None:
    """Make this worker's bench."""
    global _bench
    from keeptune.study.build import build

    be_a_worker()
    os.chdir(place)
    if keep_memory:
        allocator.keep_memory()
    torch.set_num_threads(threads)
    _bench = build(config, folder, Console(file=io.StringIO(), width=200), data_root)


def _perform(job: Job) -> _Report:
    """Do a job in this process."""
    global _bench
    bench = _bench
    if bench is None:
        raise RuntimeError("an earlier job of this process failed")
    bench.said.clear()
    try:
        anew = job.perform(bench)
    except BaseException:
        _bench = None  # whatever it left behind is not built upon
        raise
    return _Report(anew, list(bench.said), list(bench.warnings))
