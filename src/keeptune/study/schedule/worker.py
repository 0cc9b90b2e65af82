"""What a worker does, wherever it is: a place of work of its own, and one job after another."""

from __future__ import annotations

import io
import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from keeptune.core import allocator
from keeptune.core.quiet import quiet_libraries
from keeptune.core.verbose import speak
from keeptune.study.jobs.base import Job
from keeptune.study.messages import Messages
from keeptune.study.prepare import Prepared, load_base, workplace_of
from keeptune.study.workplace import Workplace


@dataclass(frozen=True)
class Start:
    """What a worker is given when it begins."""

    prepared: Prepared
    place: Path  # working directory
    threads: int
    keep_memory: bool
    verbose: bool = False  # what it decides and reads from caches is among what it says

    def on(self, device: str) -> Start:
        """The same on a device."""
        config = self.prepared.config.model_copy(update={"device": device})
        return replace(self, prepared=replace(self.prepared, config=config))


@dataclass(frozen=True)
class Report:
    """What a worker brings back of a job."""

    newly_done: bool = False
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: BaseException | None = None


class JobServer:
    """Does the jobs that one worker is given; the base is loaded for the first of them.

    Its process is the worker's alone: the working directory and the number of threads are set.
    """

    def __init__(self, start: Start) -> None:
        quiet_libraries()
        os.chdir(start.place)
        if start.keep_memory:
            allocator.keep_memory()
        torch.set_num_threads(start.threads)
        self._prepared = start.prepared
        self._messages = Messages(Console(file=io.StringIO(), width=200))
        self._workplace: Workplace | None = None
        if start.verbose:
            speak(self._messages.lines.append)

    def __call__(self, job: Job) -> Report:
        """Do a job; an error is brought back, and after one no further job may be given: its place is not cleared."""
        self._messages.lines.clear()
        newly_done, error = False, None
        try:
            newly_done = job.perform(self._place())
        except BaseException as caught:
            error = _sendable(caught)
        return Report(newly_done, tuple(self._messages.lines), tuple(self._messages.warnings), error)

    def _place(self) -> Workplace:
        if self._workplace is None:
            self._workplace = workplace_of(self._prepared, load_base(self._prepared), self._messages)
        return self._workplace


def _sendable(error: BaseException) -> BaseException:
    """The error, or one that says the same where it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
