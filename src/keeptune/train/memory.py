"""Peak memory of a stretch of work."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: torch.device) -> None:
    """Start measuring from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the mark then covers the whole process
        _REFS.write_text("5")  # sets the process's high-water mark back to what is resident now


def peak_bytes(device: torch.device) -> int | None:
    """Peak since `reset_peak`: allocated memory on a GPU, resident memory of the process on Linux, else None."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
