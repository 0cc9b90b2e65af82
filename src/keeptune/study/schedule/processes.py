"""Several jobs at a time, in processes of their own on this machine.

Jobs find and leave everything on disk below the run's folder, so a process has nothing to bring back but what was said.
Small models leave cores idle: two processes with one thread each train about 1.7 times as much as one with two.

A process that dies takes nothing with it but the steps since the last checkpoint: another one is given its job.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from keeptune.core import allocator
from keeptune.core.errors import ResourceError
from keeptune.core.processes import be_a_worker
from keeptune.core.stopping import listening
from keeptune.models.language_model import LanguageModel
from keeptune.study.jobs.base import Job
from keeptune.study.messages import Messages
from keeptune.study.prepare import Prepared, load_base, workplace_of
from keeptune.study.schedule.runner import Schedule
from keeptune.train.memory import total_bytes

SMALL = 100_000_000  # parameters: a larger model keeps all cores busy by itself
MOST = 8  # processes
OVERHEAD = 700_000_000  # bytes: libraries and data of a process
TRIES = 3  # processes that a job may take down
GRACE = 300  # seconds that a process has to finish its step and save
PER_PARAMETER = 26  # bytes: masters, moments, sums and gradients of full fine-tuning, and a copy of the base


@dataclass(frozen=True)
class _Start:
    """What a process is given when it begins."""

    prepared: Prepared
    place: Path  # working directory
    threads: int
    keep_memory: bool


@dataclass(frozen=True)
class _Report:
    """What a process brings back of a job."""

    newly_done: bool = False
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: BaseException | None = None


class _Died(Exception):
    """A process ended in the middle of a job; the text says how."""


class _Worker:
    """One process, and the job that it is at."""

    def __init__(self, start: _Start) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, start))
        self.process.start()
        theirs.close()  # so that the end of the process ends the connection
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        """Send a job; that nobody is there to take it, its report will say."""
        self.job = job
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(job)

    def report(self) -> _Report:
        """What the process brings back of its job.

        Raises:
            _Died: nothing.
        """
        try:
            report: _Report = self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self.process.join()
            self.connection.close()
            raise _Died(_how(self.process.exitcode or 0)) from error
        self.job = None
        return report

    def stop(self) -> None:
        """Ask the process to save what it can and to end; see `end`."""
        self.process.terminate()

    def end(self) -> None:
        """Wait until the process has ended; one that hangs is killed, which harms no file."""
        self.process.join(GRACE)
        self.process.kill()
        self.process.join()
        self.connection.close()

    def close(self) -> None:
        """Let the process end by itself: it has no job."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(None)
        self.process.join()
        self.connection.close()


def _how(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {each.value for each in signal.Signals} else f"signal {-code}"
    return f"{name}: memory may have run out" if name == "SIGKILL" else name


class Processes:
    """Several jobs at a time, each process with its share of the threads and with a model of its own."""

    def __init__(self, prepared: Prepared, messages: Messages, workers: int) -> None:
        self.messages, self.workers = messages, workers
        threads = max(1, torch.get_num_threads() // workers)
        self._start = _Start(prepared, Path.cwd(), threads, allocator.kept())
        self._processes: list[_Worker] = []
        self._died: Counter[Job] = Counter()  # processes, by the job that they were at

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """As processes get free; what a job said is printed when it is done."""
        left: Iterator[Job] = filter(schedule.wants, schedule.order(jobs))  # asked when a process is free
        console = self.messages.console
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            shown = bar.add_task("jobs", total=len(jobs))
            try:
                self._begin(left)
                while busy := [worker for worker in self._processes if worker.job is not None]:
                    done = wait([worker.connection for worker in busy])
                    for worker in [each for each in busy if each.connection in done]:
                        job = worker.job
                        assert job is not None
                        try:
                            self._take(job, worker.report(), schedule)
                        except _Died as how:
                            self._lost(worker, job, how)
                            left = chain([job], left)
                        else:
                            bar.update(shown, advance=1, description=f"done: {job.name}")
                    self._begin(left)
            except BaseException:
                self._stop()
                raise

    def close(self) -> None:
        """End the processes."""
        for worker in self._processes:
            worker.close()
        self._processes.clear()

    def _begin(self, left: Iterator[Job]) -> None:
        """Give a job to every process that has none, and begin further processes where there are jobs for them."""
        while True:
            free = next((worker for worker in self._processes if worker.job is None), None)
            if free is None and len(self._processes) == self.workers:
                return
            job = next(left, None)
            if job is None:
                return
            if free is None:
                free = _Worker(self._start)
                self._processes.append(free)
            free.begin(job)

    def _take(self, job: Job, report: _Report, schedule: Schedule) -> None:
        for line in report.lines:
            self.messages.say(line)
        for line in report.warnings:
            self.messages.warn(line)
        if report.error is not None:
            raise report.error
        schedule.did(job, report.newly_done)

    def _lost(self, worker: _Worker, job: Job, how: _Died) -> None:
        """Another process may try, unless this was the last one that may.

        Raises:
            ResourceError: it was.
        """
        self._processes.remove(worker)
        self._died[job] += 1
        if self._died[job] >= TRIES:
            raise ResourceError(
                f"{TRIES} worker processes ended in the middle of this job ({how})",
                where=job.name,
                remedy="where memory ran out, set workers: 1; in a script begin below `if __name__ == '__main__':`",
            )
        self.messages.say(f"{job.name}: its worker process ended ({how}), another one goes on")

    def _stop(self) -> None:
        """No further job begins, and trainings that run are saved: they go on when the study goes on."""
        for worker in self._processes:
            worker.stop()
        for worker in self._processes:
            worker.end()
        self._processes.clear()


def fitting_workers(lm: LanguageModel, parameters: int) -> int:
    """How many processes this machine has room for."""
    if lm.device.type != "cpu" or parameters > SMALL:
        return 1
    whole = total_bytes()  # what is free now is another figure a minute later, and threads decide the last bits
    room = MOST if whole is None else int(whole // 2 // (OVERHEAD + PER_PARAMETER * parameters))
    return max(1, min(torch.get_num_threads(), MOST, room))


def _serve(connection: Connection, start: _Start) -> None:
    """The life of a process: do what is sent, until nothing is. An error ends it: what it left is not built upon."""
    be_a_worker()
    os.chdir(start.place)
    if start.keep_memory:
        allocator.keep_memory()
    torch.set_num_threads(start.threads)
    with listening(signal.SIGTERM):
        _work(connection, start.prepared)


def _work(connection: Connection, prepared: Prepared) -> None:
    messages = Messages(Console(file=io.StringIO(), width=200))
    workplace = None
    while (job := _next(connection)) is not None:
        messages.lines.clear()
        try:
            workplace = workplace or workplace_of(prepared, load_base(prepared), messages)
            newly_done = job.perform(workplace)
        except BaseException as error:
            connection.send(_Report(error=_sendable(error), warnings=tuple(messages.warnings)))
            return
        connection.send(_Report(newly_done, tuple(messages.lines), tuple(messages.warnings)))


def _next(connection: Connection) -> Job | None:
    """What is to be done next; None where nobody is left to say."""
    try:
        job: Job | None = connection.recv()
    except EOFError:
        return None
    return job


def _sendable(error: BaseException) -> BaseException:
    """The error, or one that says the same where it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
