"""Peak memory of one side, in a process of its own, or in several."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def release() -> None:
    """Give freed memory back to the system, so that one case does not count as the next one's."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak(device: str) -> None:
    """Count from here."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the mark then covers the whole process
        _REFS.write_text("5")


def peak_bytes(device: str) -> int | None:
    """Peak since `reset_peak`: allocated memory of the GPU, else resident memory of the process (Linux)."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated())
    return _field("VmHWM")


def resident_bytes() -> int | None:
    """Resident memory of the process now (Linux)."""
    return _field("VmRSS")


class TreePeak:
    """Peak memory of a process and of all that it started, pages that they share counted once (Linux: PSS, sampled)."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._pid, self._done = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self.bytes = max(self.bytes, sum(map(_proportional_bytes, _tree(self._pid))))


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            for child in path.read_text().split():
                yield from _tree(int(child))


def _proportional_bytes(pid: int) -> int:
    return _field("Pss", Path(f"/proc/{pid}/smaps_rollup")) or 0


def _field(name: str, path: Path = _STATUS) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
