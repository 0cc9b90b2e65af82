"""Workers that are processes of their own on this machine.

Small models leave cores idle: two processes with one thread each train about 1.7 times as much as one with two.

A process that dies takes nothing with it but the steps since the last checkpoint: another one is given its job.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext

import torch

from keeptune.core.errors import WorkerLost
from keeptune.core.processes import be_a_worker
from keeptune.core.stopping import listening
from keeptune.models.language_model import LanguageModel
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.worker import JobServer, Report, Start
from keeptune.train.memory import total_bytes

SMALL = 100_000_000  # parameters: a larger model keeps all cores busy by itself
MOST = 8  # processes
OVERHEAD = 700_000_000  # bytes: libraries and data of a process
GRACE = 300  # seconds that a process has to finish its step and save
PER_PARAMETER = 26  # bytes: masters, moments, sums and gradients of full fine-tuning, and a copy of the base


class ProcessWorker:
    """One process."""

    ready = True  # a job waits in the pipe until the process is there

    def __init__(self, start: Start, device: str) -> None:
        self.device = device
        context = _context(device)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, start))
        self._process.start()
        theirs.close()  # so that the end of the process ends the connection

    @property
    def place(self) -> str:
        """Its number."""
        return f"worker process {self._process.pid}"

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def connection(self) -> Connection:
        """Readable when the process has something to say."""
        return self._connection

    def begin(self, job: Job) -> None:
        """Send a job; that nobody is there to take it, its report will say."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(job)

    def report(self) -> Report:
        """What the process brings back of its job.

        Raises:
            WorkerLost: it ended before its time.
        """
        try:
            report: Report = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise WorkerLost(
                _how(self._process.exitcode or 0),
                where="workers",
                remedy="where memory ran out, set workers: 1; in a script begin below `if __name__ == '__main__':`",
            ) from error
        return report

    def stop(self) -> None:
        """Ask the process to save what it can and to end; see `end`."""
        self._process.terminate()

    def end(self) -> None:
        """Wait until the process has ended; one that hangs is killed, which harms no file."""
        self._process.join(GRACE)
        self._process.kill()
        self._process.join()
        self._connection.close()

    def close(self) -> None:
        """Let the process end by itself: it has no job."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(None)
        self._process.join()
        self._connection.close()


def _context(device: str) -> ForkServerContext | SpawnContext:
    """How workers of a device begin: on a CPU under Linux as copies of one process that has imported the libraries.

    That process does nothing else, so it has no threads that a copy would lack. A library that it imports may look for
    a GPU, after which its copies could not use one; elsewhere system libraries do not survive being copied.
    """
    if sys.platform != "linux" or device.startswith("cuda") or torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keeptune.study.schedule.template"])
    return context


def _how(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in {each.value for each in signal.Signals} else f"signal {-code}"
    return f"{name}: memory may have run out" if name == "SIGKILL" else name


class ProcessLauncher:
    """Starts processes, each with its share of the threads and with a model of its own.

    Args:
        start: what each is given.
        workers: how many there may be.
    """

    def __init__(self, start: Start, workers: int) -> None:
        self._start, self._devices = start, worker_devices(start.prepared.config.device, workers)
        self._started: list[ProcessWorker] = []
        self.workers, self.sharing = workers, max(Counter(self._devices).values())

    def start(self) -> ProcessWorker:
        """One more process, on the device that fewest of the others use."""
        used = Counter(worker.device for worker in self._started if worker.alive)
        device = min(self._devices, key=lambda device: used[device])
        self._started.append(ProcessWorker(self._start.on(device), device))
        return self._started[-1]

    def wait(self, workers: Sequence[ProcessWorker], seconds: float) -> Sequence[ProcessWorker]:
        """Those that have something to say within so many seconds."""
        ready = wait([worker.connection for worker in workers], seconds)
        return [worker for worker in workers if worker.connection in ready]

    def close(self) -> None:
        """Nothing but the processes was opened."""


def worker_devices(device: str, workers: int) -> list[str]:
    """The device of every worker: where the recipe leaves it open and there are several GPUs, one after the other."""
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return [f"cuda:{worker % gpus}" if gpus > 1 else device for worker in range(workers)]


def fitting_workers(lm: LanguageModel, parameters: int) -> int:
    """How many processes this machine has room for."""
    if lm.device.type != "cpu" or parameters > SMALL:
        return 1
    whole = total_bytes()  # what is free now is another figure a minute later, and threads decide the last bits
    room = MOST if whole is None else int(whole // 2 // (OVERHEAD + PER_PARAMETER * parameters))
    return max(1, min(torch.get_num_threads(), MOST, room))


def _serve(connection: Connection, start: Start) -> None:
    """The life of a process: do what is sent, until nothing is. An error ends it: what it left is not built upon."""
    be_a_worker()
    server = JobServer(start)
    with listening(signal.SIGTERM):
        _work(connection, server)


def _work(connection: Connection, server: JobServer) -> None:
    while (job := _next(connection)) is not None:
        report = server(job)
        connection.send(report)
        if report.error is not None:
            return


def _next(connection: Connection) -> Job | None:
    """What is to be done next; None where nobody is left to say."""
    try:
        job: Job | None = connection.recv()
    except EOFError:
        return None
    return job
