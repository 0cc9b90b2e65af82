"""Every process of a world shows the others that it is alive; one that stops is named and ends the job.

A process that dies ends the others at once through the launcher. One that is stopped, or whose machine is gone, only
falls silent: its peers would wait in a sum until the process group's timeout. So each process writes a pulse to the
store that they share, from a thread of its own, and looks at the pulses of the others.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from datetime import timedelta
from typing import Any

INTERVAL = 2.0  # seconds between two pulses
PATIENCE = 30.0  # seconds without a pulse after which a process counts as lost
GRACE = 10.0  # seconds in which the launcher ends a process whose peer died, and names that one itself
LOST = 5  # exit code: the family of `ResourceError`

DONE = b"done"


class Watch:
    """The pulse of one process, and its look at the others.

    Args:
        store: a connection of its own to the store of the process group (torch's ``Store.clone()``).
        rank: of this process.
        size: how many there are.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self._store, self.rank, self.size = store, rank, size
        self.calls = 0  # sums that this process has entered: whoever has entered fewest keeps the others waiting
        self._beats = 0
        self._seen: dict[int, tuple[bytes, float]] = {}  # by rank: its last pulse, and when it was new
        self._ended = threading.Event()
        store.set(f"who/{rank}", f"rank {rank} of {size} (process {os.getpid()} on {socket.gethostname()})")
        self._beat()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def start(self) -> None:
        """Begin to look; all processes have made their watch by now."""
        self._thread.start()

    def stop(self) -> None:
        """The work is done, and nobody need wait for this process any more."""
        self._ended.set()
        self._thread.join()
        try:
            self._store.set(f"pulse/{self.rank}", DONE)
        except RuntimeError:  # the process that holds the store has gone before
            return

    def name(self, rank: int) -> str:
        """Rank, process and host."""
        return str(self._store.get(f"who/{rank}").decode())

    def silent(self, seconds: float = PATIENCE) -> list[int]:
        """Ranks that have shown no pulse for so long."""
        pulses = self._store.multi_get([f"pulse/{rank}" for rank in range(self.size)])
        now = time.monotonic()
        for rank, pulse in enumerate(pulses):
            if rank not in self._seen or self._seen[rank][0] != pulse:
                self._seen[rank] = (pulse, now)
        return [
            rank
            for rank, (pulse, since) in self._seen.items()
            if rank != self.rank and pulse != DONE and now - since > seconds
        ]

    def late(self) -> list[int]:
        """Ranks that have entered fewer sums than this one."""
        pulses = self._store.multi_get([f"pulse/{rank}" for rank in range(self.size)])
        return [
            rank
            for rank, pulse in enumerate(pulses)
            if rank != self.rank and pulse != DONE and int(pulse.partition(b" ")[2]) < self.calls
        ]

    def fail(self) -> None:
        """Tell the others that this process has found an error and will name it."""
        self._store.set(f"failed/{self.rank}", "")

    def main_failed(self, seconds: float) -> bool:
        """Whether the main process finds an error, too, within so many seconds."""
        try:
            self._store.wait(["failed/0"], timedelta(seconds=seconds))
        except RuntimeError:
            return False
        return True

    def _beat(self) -> None:
        self._beats += 1
        self._store.set(f"pulse/{self.rank}", f"{self._beats} {self.calls}")

    def _live(self) -> None:
        while not self._ended.wait(INTERVAL):
            try:
                self._beat()
                lost = self.silent()
            except RuntimeError:  # the store is gone, and with it whoever held it: sums fail, and say so
                return
            if lost:
                self._end(lost)

    def _end(self, lost: list[int]) -> None:
        """End this process, whatever its main thread waits for; one process says why."""
        if self.rank == min(rank for rank in range(self.size) if rank not in lost):
            names = ", ".join(map(self.name, lost))
            sys.stderr.write(f"error: {names} has not answered for {PATIENCE:.0f} seconds\n")
            sys.stderr.flush()
        else:
            time.sleep(INTERVAL)
        os._exit(LOST)
