"""A folder of part files: train, validation (valid, val, dev, eval) and test, in any of the file formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.data.readers.files import has_reader, read_file, refuse_dead_link
from keeptune.data.readers.row import Row, part_of
from keeptune.data.readers.text import PACKED


def read_folder(folder: Path) -> Iterator[Row]:
    """Rows of all part files, each marked with its part; shards ('train-00000-of-00002') follow their order.

    Raises:
        DataError: no part files, or files of which it is unclear what they are.
    """
    for path, part in part_files(folder):
        for row in read_file(path):
            yield replace(row, part=part) if part else row


def part_files(folder: Path) -> list[tuple[Path, Part | None]]:
    """The files to read, with their parts. A single data file of any name is the whole set (part None).

    Raises:
        DataError: see `read_folder`; a folder that cannot be looked into, or a part that is a dead link.
    """
    try:
        saved = (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()
        files = _data_files(folder) or _data_files(folder / "data")
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", path=folder, remedy="check the folder and its permissions"
        ) from error
    if saved:
        raise DataError(
            "a folder written by datasets.save_to_disk",
            path=folder,
            remedy="write the parts as files: dataset['train'].to_parquet('train.parquet')",
        )
    if not files:
        raise DataError(
            "no data files in this folder",
            path=folder,
            remedy="name them train.jsonl, validation.jsonl and test.jsonl (or .json, .csv, .tsv, .parquet)",
        )
    if len(files) == 1:
        return [(files[0], part_of(_stem(files[0])))]
    parts = [(path, part_of(_stem(path))) for path in files]
    if all(part is None for _, part in parts):
        raise DataError(
            f"no file is named train, validation or test: {', '.join(path.name for path in files[:8])}",
            path=folder,
            remedy="name one of the files as the data, or rename them after their parts",
        )
    return [(path, part) for path, part in parts if part]


def unread_files(folder: Path) -> list[Path]:
    """Data files beside the part files, whose names name no part."""
    read = [path for path, _ in part_files(folder)]
    return [path for path in _data_files(read[0].parent) if path not in read]


def _data_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    named = sorted(path for path in folder.iterdir() if has_reader(path) and path.name[0] != ".")
    for path in named:
        refuse_dead_link(path)  # leaving it out would silently lose a part
    return [path for path in named if path.is_file()]


def _stem(path: Path) -> str:
    bare = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return bare.name.rsplit(".", 1)[0]
