"""Several jobs at a time, each done by one of several workers.

Jobs find and leave everything on disk below the run's folder, so a worker has nothing to bring back but what was said,
and a job whose worker was lost is simply given to another one.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from keeptune.core.errors import ResourceError, WorkerLost
from keeptune.core.units import human_seconds
from keeptune.study.jobs.base import Job
from keeptune.study.messages import Messages
from keeptune.study.schedule.board import Board
from keeptune.study.schedule.runner import Schedule
from keeptune.study.schedule.worker import Report

TRIES = 3  # workers that a job may take with it: it would take the next one, too
PATIENCE = 900.0  # seconds without any worker: an autoscaler or a queue may take minutes to bring one
TICK = 1.0  # seconds between two looks at the board


class Worker(Protocol):
    """Does one job at a time, somewhere."""

    @property
    def place(self) -> str:
        """Where it is, as messages name it: 'process 4711'."""
        ...

    @property
    def ready(self) -> bool:
        """Whether it may be given a job; one that is not has something to say when it is."""
        ...

    def begin(self, job: Job) -> None:
        """Give it a job: it has something to say when that is done."""
        ...

    def report(self) -> Report | None:
        """What it has to say: of its job, or nothing but that it is ready now.

        Raises:
            WorkerLost: it will not say anything any more.
        """
        ...

    def stop(self) -> None:
        """Ask it to end, whatever it does; see `end`."""
        ...

    def end(self) -> None:
        """Wait until it has ended; one that hangs is killed, which harms no file."""
        ...

    def close(self) -> None:
        """Let it end: it has no job."""
        ...


W = TypeVar("W", bound=Worker)


class Launcher(Protocol[W]):
    """Starts workers of one kind."""

    @property
    def workers(self) -> int:
        """How many there may be at the same time."""
        ...

    @property
    def sharing(self) -> int:
        """How many of them may be on one machine, or on one GPU."""
        ...

    def start(self) -> W:
        """One more worker, which need not be ready."""
        ...

    def wait(self, workers: Sequence[W], seconds: float) -> Sequence[W]:
        """Those that have something to say; after so many seconds perhaps none."""
        ...

    def close(self) -> None:
        """All workers have ended."""
        ...


class _Queue:
    """The jobs of one call that have not begun, or that have to begin again."""

    def __init__(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        self.schedule = schedule
        self.lost: Counter[Job | None] = Counter()  # workers; without a job: before their first
        self._waiting = deque(schedule.order(jobs))

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> Job | None:
        """The next job that is wanted; one whose worker was lost was wanted before."""
        while self._waiting:
            job = self._waiting.popleft()
            if self.lost[job] or self.schedule.wants(job):
                return job
        return None

    def again(self, job: Job) -> None:
        """A job has to begin again, before all others."""
        self._waiting.appendleft(job)


class Pool(Generic[W]):
    """A runner (see `runner.Runner`) that keeps its workers, each with the base loaded, from one call to the next."""

    def __init__(self, launcher: Launcher[W], threads: int, messages: Messages, board: Board) -> None:
        self.workers, self.sharing, self.threads = launcher.workers, launcher.sharing, threads
        self._launcher, self._messages, self._board = launcher, messages, board
        self._idle: list[W] = []  # those that are not ready included
        self._busy: dict[W, Job] = {}

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """As workers get free; what a job said is printed when it is done."""
        queue, heard = _Queue(jobs, schedule), time.monotonic()
        with self._board.showing():
            try:
                while self._begin(queue):
                    coming = [worker for worker in self._idle if not worker.ready]
                    talking = self._launcher.wait([*self._busy, *coming], TICK)
                    for worker in talking:
                        self._hear(worker, queue)
                    if talking or self._busy:
                        heard = time.monotonic()
                    _check_patience(time.monotonic() - heard)
                    self._board.update()
            except BaseException:
                self._stop()
                raise

    def close(self) -> None:
        """End the workers."""
        for worker in self._idle:
            worker.close()
        self._idle.clear()
        self._launcher.close()

    def _begin(self, queue: _Queue) -> bool:
        """Start workers where there are jobs for them, and give every one that is ready a job; False: all is done."""
        while len(self._idle) + len(self._busy) < min(self.workers, len(queue) + len(self._busy)):
            self._idle.append(self._launcher.start())
        for worker in [each for each in self._idle if each.ready]:
            job = queue.next()
            if job is None:
                break
            worker.begin(job)
            self._idle.remove(worker)
            self._busy[worker] = job
            self._board.began(job, worker.place)
        return bool(self._busy or queue)

    def _hear(self, worker: W, queue: _Queue) -> None:
        job = self._busy.get(worker)
        try:
            report = worker.report()
        except WorkerLost as reason:
            self._lose(worker, job, queue, reason)
            return
        if job is None or report is None:  # it is ready: those before it were lost to something that has passed
            queue.lost.pop(None, None)
            return
        del self._busy[worker]
        self._idle.append(worker)
        self._board.ended(job)
        for line in report.lines:
            self._messages.say(line)
        for line in report.warnings:
            self._messages.warn(line)
        if report.error is not None:
            raise report.error
        queue.schedule.did(job, report.newly_done)

    def _lose(self, worker: W, job: Job | None, queue: _Queue, reason: WorkerLost) -> None:
        """Forget a worker, and let its job begin again unless that was tried often enough.

        Raises:
            WorkerLost: it was.
        """
        worker.stop()
        worker.end()
        queue.lost[job] += 1
        count, where = queue.lost[job], job.name if job else "before the first job"
        if count >= TRIES:
            last = f"the last one {worker.place}: {reason.message}"
            raise WorkerLost(f"{TRIES} workers were lost here, {last}", where=where, remedy=reason.remedy)
        self._messages.say(
            f"{where}: {worker.place} was lost ({reason.message}); another one takes over, try {count + 1} of {TRIES}"
        )
        if job is None:
            self._idle.remove(worker)
            return
        del self._busy[worker]
        self._board.ended(job)
        queue.again(job)

    def _stop(self) -> None:
        """No further job begins, and those that run end at once: their arms start again when the study goes on."""
        workers = (*self._busy, *self._idle)
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.end()
        self._busy.clear()
        self._idle.clear()


def _check_patience(seconds: float) -> None:
    """Refuse to wait for a worker for ever.

    Raises:
        ResourceError: none has been there for too long.
    """
    if seconds > PATIENCE:
        raise ResourceError(
            f"no worker has been there for {human_seconds(seconds)}",
            where="workers",
            remedy="see whether the cluster has room for one, and run the same command to go on",
        )
