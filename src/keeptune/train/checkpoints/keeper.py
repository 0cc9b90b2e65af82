"""The checkpoints of a training: when they are written, which are kept, and which one it goes on from."""

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from keeptune.core.errors import KeeptuneError
from keeptune.core.stopping import Stopped
from keeptune.launch.world import World
from keeptune.train.checkpoints.folder import CheckpointFolder, Foreign, State, Unusable
from keeptune.train.stateful import Stateful

log = logging.getLogger(__name__)

FOLDER = "checkpoints"
KEPT = 2  # the newest, and the one before it should the newest be damaged
SHARE = 0.03  # of the time may be spent on checkpoints
SOONEST = 10.0  # seconds: less work is not worth a file
SLOW = 100e6  # bytes per second: what is expected of a disk before the first checkpoint was timed


class Checkpoints:
    """Writes the state of a training's parts from time to time, and finds it again.

    Nothing that a stopwatch decides here changes a result. In a world of several processes the main one reads and
    writes files, and says for all when; states are those of the whole training, whatever the number of processes.

    Args:
        run: the training's folder.
        key: content hash of everything that decides how the training goes on.
        parts: what remembers something from step to step, by name.
        kept: names in ``run`` that belong to a checkpoint, see `CheckpointFolder`.
        every: steps between two checkpoints; "auto": as often as `SHARE` of the time allows.
        size: bytes that a checkpoint will have, about.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        run: Path,
        key: str,
        parts: Mapping[str, Stateful],
        kept: tuple[str, ...],
        every: int | Literal["auto"],
        size: int,
        world: World,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.parts, self.every, self.world, self.clock = run / FOLDER, parts, every, world, clock
        self.files = CheckpointFolder(key, run, kept)
        self.failed = 0  # that could not be written
        self._reason = ""
        self._rest = max(SOONEST, size / SLOW / SHARE)  # seconds from one checkpoint to the next
        self._since = clock()

    def resume(self) -> int:
        """Load the newest checkpoint that can be believed into the parts; returns its step, 0 where there is none.

        The run's own files are then as they were at that step. Every other checkpoint is removed.
        """
        found = self._newest_good() if self.world.is_main else None
        step = round(self.world.sum(torch.tensor(float(found[0] if found else 0), dtype=torch.float64)).item())
        if step:
            place = self._place(step)
            state = found[1] if found else self.files.read(place)
            if self.world.is_main:
                self.files.restore(place)
            for name, part in self.parts.items():
                if name in state.values:
                    part.load_state_dict({**state.values[name], **state.tensors.get(name, {})})
        self.world.sum(torch.zeros(()))  # the others have read what is removed now
        if self.world.is_main:
            self._remove(each for number, each in self._all() if number != step)
        self._since = self.clock()
        return step

    def after_step(self, step: int, signalled: int) -> None:
        """Write a checkpoint if it is time, or if a signal asked the training to stop (0: none did).

        Raises:
            Stopped: one did, in this process or another; what was done is saved.
        """
        stop, due = self._agreed(signalled > 0, self._is_due(step))
        if stop or due:
            self._write(step)
        if stop:
            raise Stopped(128 + (signalled or signal.SIGTERM))

    def say_what_failed(self) -> None:
        """One warning at the end of a training for all the checkpoints that could not be written."""
        if self.failed:
            log.warning(
                "%d checkpoints of %s could not be written (%s): an interruption would have cost the steps since"
                " the one before them",
                *(self.failed, self.folder.parent, self._reason),
            )

    def _is_due(self, step: int) -> bool:
        return self.clock() - self._since >= self._rest if self.every == "auto" else step % self.every == 0

    def _agreed(self, stop: bool, due: bool) -> tuple[bool, bool]:
        """Whether any process has to stop, and whether the main one finds it time."""
        if self.world.size == 1:
            return stop, due
        flags = self.world.sum(torch.tensor([float(stop), float(due and self.world.is_main)]))
        return bool(flags[0]), bool(flags[1])

    def _write(self, step: int) -> None:
        """A checkpoint that cannot be written is no reason to end a training."""
        started = self.clock()
        state = self._state()
        if self.world.is_main:
            try:
                self.folder.mkdir(exist_ok=True)
                self.files.write(self._place(step), step, state)
            except (OSError, KeeptuneError) as error:
                self._note_failure(error)
            else:
                self._remove(each for _, each in self._all()[KEPT:])
        self._since = self.clock()
        self._rest = max(SOONEST, (self._since - started) / SHARE)

    def _note_failure(self, error: Exception) -> None:
        self.failed += 1
        self._reason = str(error)
        if self.failed == 1:
            log.warning(
                "no checkpoint could be written to %s (%s): the training goes on, and the checkpoint before it stays;"
                " free disk space, or check that the folder is there and may be written",
                *(self.folder, error),
            )

    def _state(self) -> State:
        states = {name: part.state_dict() for name, part in self.parts.items()}
        return State(
            values={n: {k: v for k, v in s.items() if not isinstance(v, Tensor)} for n, s in states.items()},
            tensors={n: {k: v for k, v in s.items() if isinstance(v, Tensor)} for n, s in states.items()},
        )

    def _newest_good(self) -> tuple[int, State] | None:
        """The step and the state of the checkpoint to go on from; the damaged ones are named in a warning."""
        damaged = False
        for step, place in self._all():
            try:
                state = self.files.read(place)
            except Foreign:
                continue
            except Unusable as reason:
                damaged = True
                log.warning("the checkpoint %s is not used: %s", place, reason)
                continue
            log.info("going on from %s", place)
            return step, state
        if damaged:
            log.warning("%s: no checkpoint can be used, the training starts again", self.folder.parent)
        return None

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:08}"

    def _all(self) -> list[tuple[int, Path]]:
        """Step and folder of every checkpoint, the newest first."""
        found = [(int(place.name[5:]), place) for place in self.folder.glob("step-*") if place.name[5:].isdecimal()]
        return sorted(found, reverse=True)

    def _remove(self, places: Iterable[Path]) -> None:
        for place in [*places, *self.folder.glob("*.partial")]:
            shutil.rmtree(place, ignore_errors=True)


def discard(run: Path) -> None:
    """Remove the checkpoints of a training that is done."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)
