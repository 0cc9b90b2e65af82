"""Memory of the command-line program: what one tensor frees, the next one takes.

glibc returns every large block to the system and gets the next one page by page, which costs more than most operations
on it (64 MB allocated, filled and multiplied: 36 ms, against 7 ms with memory that is kept). Importing keeptune changes
nothing of this; only the program does, and only where its user has not tuned the allocator.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # parameters of mallopt(3)
SETTINGS = (
    (MMAP_MAX, 0),  # large blocks come from the heap, which keeps what is freed
    (TRIM_THRESHOLD, -1),  # and is never cut at its end
    (TOP_PAD, 64 * 2**20),  # it grows by steps that are worth a system call
)

# glibc cannot be asked what it was told, so the process notes it for itself: the variable holds the id of the process,
# because the processes that it starts inherit the variable and not the setting.
NOTE = "KEEPTUNE_KEEPS_MEMORY"


def keep_memory() -> None:
    """Let glibc keep freed memory; nothing happens with another C library or where the user chose an allocator."""
    if not _chosen_by_user(os.environ) and _is_glibc() and _set():
        os.environ[NOTE] = str(os.getpid())


def kept() -> bool:
    """Whether this process keeps freed memory."""
    return os.environ.get(NOTE) == str(os.getpid())


def state() -> str:
    """The setting in one line, for `keeptune doctor`."""
    if kept():
        return "glibc, freed memory is kept for what comes next"
    chosen = _chosen_by_user(os.environ)
    return f"as {chosen} says" if chosen else "the system's own"


def _chosen_by_user(environment: Mapping[str, str]) -> str | None:
    """The environment variable by which the allocator was tuned or replaced."""
    if "glibc.malloc." in environment.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES"
    if "malloc" in environment.get("LD_PRELOAD", ""):  # jemalloc, tcmalloc, mimalloc
        return "LD_PRELOAD"
    return next((name for name in sorted(environment) if name.startswith("MALLOC_") and environment[name]), None)


def _is_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False


def _set() -> bool:
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in SETTINGS)
