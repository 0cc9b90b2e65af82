"""`--verbose`: what is decided, and what is read instead of computed, a line each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from typing_extensions import override

LOG = logging.getLogger("keeptune")


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    @override
    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # a closed pipe ends no training
            self._say(self.format(record))


def speak(say: Callable[[str], object]) -> Callable[[], None]:
    """Give every line of the log to ``say`` from now on, until what is returned is called."""
    handler, level = _Lines(say), LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)

    def stop() -> None:
        LOG.removeHandler(handler)
        LOG.setLevel(level)

    return stop


def speaking() -> bool:
    """Whether lines of the log go anywhere."""
    return LOG.isEnabledFor(logging.INFO)
