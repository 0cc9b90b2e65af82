"""How much memory there is, how much is used, and the peak of a stretch of work."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MEMINFO, _GROUPS, _OWN_GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def reset_peak(device: torch.device) -> None:
    """Start measuring from here."""
    release()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the mark then covers the whole process
        _REFS.write_text("5")  # sets the process's high-water mark back to what is resident now


def peak_bytes(device: torch.device) -> int | None:
    """Peak since `reset_peak`: allocated memory on a GPU, resident memory of the process on Linux, else None."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _kilobytes(_STATUS, "VmHWM:")


def used_bytes(device: torch.device) -> int | None:
    """Memory in use now, by the measure of `peak_bytes`."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return _kilobytes(_STATUS, "VmRSS:")


def available_bytes(device: torch.device) -> int | None:
    """Memory that can still be had without harm: of the GPU, or of this machine or container; None where unknown."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + kept)
    machine = _kilobytes(_MEMINFO, "MemAvailable:")
    return None if machine is None else min([machine, *_group_rooms()])


def total_bytes() -> int | None:
    """Memory of this machine, used or not; None where unknown."""
    return _kilobytes(_MEMINFO, "MemTotal:")


def release() -> None:
    """Give memory that is free but kept by the C library back to the system, so that it is not counted as used."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; None with another C library."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim


def _group_rooms() -> list[int]:
    """Bytes below the limit of every control group that this process is in and that has one (version 2)."""
    try:
        own = next(line[3:] for line in _OWN_GROUP.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    rooms = []
    for folder in {_GROUPS, _GROUPS / own.lstrip("/")}:
        with contextlib.suppress(OSError, ValueError, StopIteration):  # no such group here, or "max": no limit
            limit, used = int((folder / "memory.max").read_text()), int((folder / "memory.current").read_text())
            stat = (folder / "memory.stat").read_text().splitlines()
            cached = next(int(line.split()[1]) for line in stat if line.startswith("inactive_file "))
            rooms.append(limit - used + cached)
    return rooms


def _kilobytes(file: Path, name: str) -> int | None:
    """Bytes in the line of a /proc file that starts with ``name``; None where there is no such file or line."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)
