"""Processes that do a part of the work for the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from contextlib import suppress

from keeptune.core.quiet import quiet_libraries

DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def be_a_worker() -> None:
    """Leave Ctrl-C to the process that started this one, and end with it: nobody will collect what is done then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet_libraries()
    with suppress(OSError, AttributeError, TypeError):  # no such call here
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End at once when the process that started this one does, which need not be the one that it was forked from."""
    import multiprocessing  # with all that it imports, for those that start workers alone

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
