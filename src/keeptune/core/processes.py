"""Processes that do a part of the work for the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from contextlib import suppress

from keeptune.core.quiet import quiet_libraries

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def be_a_worker() -> None:
    """Leave Ctrl-C to the process that started this one, and end with it: nobody will collect what is done then.

    On Linux at once, so that a study that goes on finds nobody in its folder; elsewhere within a second.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_libraries()
    with suppress(OSError, AttributeError, TypeError):  # no such call here
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
