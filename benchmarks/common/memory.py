"""Peak memory of one side, in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

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


def _field(name: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
