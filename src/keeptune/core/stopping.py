"""Being asked to stop: SIGINT (Ctrl-C) and SIGTERM end the program; a training finishes its step and saves first."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """The process was asked to stop. Its code is 128 plus the number of the signal, as shells report it."""


class Listener:
    """What a process does about a signal: the first one stops it, at once or soon; a second one leaves at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.deferring = 0  # how many parts of the program want to finish something first

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.received is not None:  # files are there whole or not at all, so nothing is harmed
            os._exit(128 + number)
        self.received = number
        if not self.deferring:
            self.stop()

    def stop(self) -> None:
        """Raises: Stopped, if a signal was received."""
        if self.received is not None:
            raise Stopped(128 + self.received)


@contextmanager
def listening(*signals: signal.Signals) -> Iterator[None]:
    """Within, these signals raise `Stopped`, or wait for who is `finishing`. For the main thread of a program."""
    listener = Listener()
    before = {number: signal.signal(number, listener) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def finishing() -> Iterator[Callable[[], int]]:
    """Within, signals wait: the function that is given says which one came, 0 for none. It stops the program at the
    latest when the context is left.

    Only a program that is `listening` can wait; elsewhere signals do what they did before.
    """
    listener = signal.getsignal(signal.SIGTERM)
    if not isinstance(listener, Listener):
        yield lambda: 0
        return
    listener.deferring += 1
    try:
        yield lambda: listener.received or 0
    finally:
        listener.deferring -= 1
    if not listener.deferring:
        listener.stop()
