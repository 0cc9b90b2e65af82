"""One process at a time in a run's folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from keeptune.core.errors import RunFolderError
from keeptune.core.files import writing

FILE = "lock"


@contextmanager
def locked(folder: Path, remedy: str = "wait until it has finished, or name another --out") -> Iterator[None]:
    """Within, ``folder`` belongs to this process; the processes that it starts share it.

    The system lets go of the lock when the process ends, however it ends: a lock is never stale. Where the system or
    the file system cannot lock, nothing is locked. A folder in which nothing was left is gone afterwards.

    Raises:
        RunFolderError: another process has it; the error names its host and number, and says ``remedy``.
        ResourceError: the folder cannot be written.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    file = _opened(folder, remedy)
    try:
        yield
    finally:
        with suppress(OSError):  # it is gone already, or somebody else uses it by now
            if os.listdir(folder) == [FILE]:
                (folder / FILE).unlink()
                for each in made:
                    each.rmdir()
        os.close(file)


def _opened(folder: Path, remedy: str) -> int:
    """The lock's file, locked: the one that lies in the folder, and not one that its last owner has just removed."""
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _take(file, folder, remedy)
            if _lies_in(folder, file):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lies_in(folder: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(folder / FILE))
    except FileNotFoundError:
        return False


def _take(file: int, folder: Path, remedy: str) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunFolderError(
            f"is in use by {_owner(os.pread(file, 1000, 0))}",
            where=str(folder),
            remedy=remedy,
        ) from error
    except OSError:  # a network file system without locks
        return
    os.ftruncate(file, 0)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.pwrite(file, json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now}).encode(), 0)


def _owner(text: bytes) -> str:
    try:
        found = json.loads(text)
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"
