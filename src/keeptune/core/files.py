"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keeptune.core.errors import ResourceError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Within, write to what is yielded; it takes the name ``path`` at the end, unless an error ended it.

    Processes may write the same file at the same time: each writes its own, and the last one stays.

    Raises:
        ResourceError: it cannot be written: no space, no permission, no such place.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            f"cannot be written ({error.strerror or error})",
            where=str(path),
            remedy="free disk space, or write to a folder that you may write to",
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all (see `whole`)."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
