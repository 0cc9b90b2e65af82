"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keeptune.core.errors import KeeptuneError, ResourceError

# What the machine refuses, wherever in a run it happens; any other OSError is a mistake of ours.
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_REFUSALS = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A context that yields a temporary path to write to; the file is renamed to ``path`` unless an error ends it.

    Processes may write the same file at the same time: each writes its own, and the last one stays.

    Raises:
        ResourceError: it cannot be written: no space, no permission, no such place.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield partial
                readable(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """A context in which a library writes below ``place``; a full or read-only disk becomes an error of one line.

    Raises:
        ResourceError: it cannot be written.
    """
    try:
        yield
    except KeeptuneError:
        raise
    except Exception as error:  # safetensors has errors of its own, which only quote the system's
        refused = isinstance(error, OSError) and error.errno in REFUSED
        quoted = next((text for text in _REFUSALS if text in str(error)), None)
        if not refused and quoted is None:
            raise
        raise _unwritable(place, quoted or (isinstance(error, OSError) and error.strerror) or str(error)) from error


def _unwritable(place: Path, reason: str) -> ResourceError:
    return ResourceError(
        f"cannot be written ({reason})",
        where=str(place),
        remedy="free disk space, or write to a folder that you may write to, and run the same command to go on",
    )


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """A context in which a library fills ``folder``, which is made; its files get what the umask allows.

    Raises:
        ResourceError: it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield
        readable(folder)


def readable(place: Path) -> None:
    """Give a file, or all below a folder, what the umask allows: safetensors writes for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for file in (place, *place.rglob("*")):
        if file.is_file():
            file.chmod(0o666 & ~mask)


def cache_folder() -> Path:
    """Where base scores, encoded rows and a program's rows are kept.

    $KEEPTUNE_CACHE, or keeptune below the user's cache folder.
    """
    given = os.environ.get("KEEPTUNE_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "keeptune" / "scores"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(place: Path) -> None:
    """Wait until a file, or the list of what is in a folder, is on the disk and not only on its way there."""
    number = os.open(place, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_all(*places: Path) -> None:
    """`sync` of files, and of folders with all that is in them."""
    for place in places:
        for each in (*place.rglob("*"), place):
            sync(each)


def write_whole(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all (see `whole`)."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_first(path: Path, text: str) -> None:
    """As `write_whole`, unless the file is there: of several processes that write it, the first one is heard."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.first")
    write_whole(partial, text)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without links: nearly as good
        if not path.exists():
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
