"""Raw rows from any supported source: files, folders of parts, the hub."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.data.rows.files import read_file, refuse_dead_link
from keeptune.data.rows.folder import part_files, read_folder, unread_files
from keeptune.data.rows.hub import PREFIX, read_hub
from keeptune.data.rows.row import Row

__all__ = ["Row", "read_from", "read_rows", "source_files", "unread"]

LISTED = 8  # files of a part that are named one by one


def read_rows(source: str) -> Iterator[Row]:
    """Rows of a source, one at a time.

    Args:
        source: a .jsonl, .json, .csv, .tsv (each also .gz or .zst) or .parquet file, a folder of part files, or
            hf:owner/name[:config].

    Raises:
        DataError: the source is missing or cannot be read; names file, line and remedy.
        ResourceError: what reads it is not installed.
    """
    if source.startswith(PREFIX):
        return read_hub(source)
    path = existing(source)
    return read_folder(path) if path.is_dir() else read_file(path)


def source_files(source: str) -> list[Path]:
    """The files that a local source consists of; none for a hub set."""
    if source.startswith(PREFIX):
        return []
    path = existing(source)
    return [file for file, _ in part_files(path)] if path.is_dir() else [path]


def unread(source: str) -> list[str]:
    """Names of the data files in a folder that are not read, because they name no part."""
    path = None if source.startswith(PREFIX) else existing(source)
    return [file.name for file in unread_files(path)] if path is not None and path.is_dir() else []


def read_from(source: str) -> tuple[str, ...]:
    """Which files of a folder are read, part by part; nothing of a single file, whose name says it."""
    path = None if source.startswith(PREFIX) else existing(source)
    files: dict[str, list[str]] = {}
    for file, part in part_files(path) if path is not None and path.is_dir() else ():
        files.setdefault(part or "the whole set", []).append(str(file.relative_to(path or file.parent)))
    return tuple(f"{part} is read from {_some(names)}" for part, names in files.items())


def _some(names: list[str]) -> str:
    """'a, b and c'; of many, the first and the last."""
    if len(names) > LISTED:
        return f"{len(names):,} files, {names[0]} to {names[-1]}"
    return " and ".join(each for each in (", ".join(names[:-1]), names[-1]) if each)


def existing(source: str) -> Path:
    """The source as a path that exists.

    Raises:
        DataError: it does not; names similar files beside it, or what a dead link points to.
    """
    path = Path(source).expanduser()
    try:
        if path.exists():
            return path
        folder = next(parent for parent in path.parents if parent.is_dir())
        beside = sorted(entry.name for entry in folder.iterdir())
    except (OSError, ValueError) as error:
        raise DataError(f"not a usable path ({error})", path=source[:200], remedy="name a file or a folder") from error
    missing = path.relative_to(folder).parts[0]
    refuse_dead_link(folder / missing)
    if folder != path.parent:
        message = f"no such file: '{folder}' has no folder '{missing}'"
    else:
        message = "no such file"
    near = difflib.get_close_matches(missing, beside, n=3, cutoff=0.5)
    if near:
        remedy = f"did you mean {' or '.join(near)}?"
    elif source.count("/") == 1 and not path.suffix:
        remedy = f"a data set of the hub is written hf:{source}"
    else:
        remedy = "the folder holds: " + (", ".join(beside[:6]) or "nothing") + (", ..." if len(beside) > 6 else "")
    raise DataError(message, path=source, remedy=remedy)
