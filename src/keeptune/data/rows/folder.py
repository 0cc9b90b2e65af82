"""A folder of part files: train, validation (valid, val, dev, eval) and test, in any of the file formats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.data.rows.files import has_reader, read_file, refuse_dead_link
from keeptune.data.rows.row import Row, part_of
from keeptune.data.rows.text import PACKED

SAVED_PARTS = "dataset_dict.json"  # beside the folders of a DatasetDict
SAVED_NOTES = ("state.json", "dataset_info.json")  # beside the rows of a Dataset that was saved


def read_folder(folder: Path) -> Iterator[Row]:
    """Rows of all part files, each marked with its part; shards ('train-00000-of-00002') follow their order.

    Raises:
        DataError: no part files, or files of which it is unclear what they are.
    """
    for path, part in part_files(folder):
        for row in read_file(path):
            yield replace(row, part=part) if part else row


def part_files(folder: Path) -> list[tuple[Path, Part | None]]:
    """The files to read, with their parts. A single data file of any name is the whole set (part None), and so are
    shards of one set.

    Raises:
        DataError: see `read_folder`; a folder that cannot be looked into, or a part that is a dead link.
    """
    try:
        if (folder / SAVED_PARTS).is_file():
            return _saved_parts(folder)
        files = _data_files(folder) or _data_files(folder / "data")
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", path=folder, remedy="check the folder and its permissions"
        ) from error
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
        if len({_set_of(path) for path in files}) == 1:
            return [(path, None) for path in files]
        raise DataError(
            f"no file is named train, validation or test: {', '.join(path.name for path in files[:8])}",
            path=folder,
            remedy="name one of the files as the data, or rename them after their parts",
        )
    named = [(path, part) for path, part in parts if part]
    _refuse_several_sets(folder, named)
    return [*named]


def _saved_parts(folder: Path) -> list[tuple[Path, Part | None]]:
    """The files of a DatasetDict that `datasets` saved, part by part."""
    found: list[tuple[Path, Part | None]] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        part = part_of(place.name)
        if part is not None:
            found += [(file, part) for file in _data_files(place)]
    if not found:
        raise DataError("none of its parts is called train, validation or test", path=folder, remedy="rename one")
    _refuse_several_sets(folder, [(Path(file.parent.name), part) for file, part in found if part])
    return found


def _set_of(path: Path) -> tuple[str, str]:
    """What a shard's name says but for its number: ('part', 'parquet') of part-00003.parquet and of part-00003-of-9."""
    stem = re.sub(r"(?<![a-z])\d+([-_]of[-_]\d+)?(?![a-z])", "", _stem(path).lower())
    stem = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27,}|[-_.]c000$", "", stem)  # Spark's run and task
    return stem.strip("-_. "), "".join(path.suffixes[-1:])


def _refuse_several_sets(folder: Path, named: Sequence[tuple[Path, Part]]) -> None:
    """Parts of one set carry one name beside the part: train_sft and train_prefs are two sets.

    Raises:
        DataError: with the names.
    """
    names: dict[Part, set[str]] = {}
    for path, part in named:
        names.setdefault(part, set()).add(_set_of(path)[0])
    part, several = max(names.items(), key=lambda pair: len(pair[1]))
    if len(several) > 1:
        raise DataError(
            f"the {part} part stands there in {len(several)} kinds: {', '.join(sorted(several))}",
            path=folder,
            remedy="put the files of one kind into a folder of their own, or name one of them as the data",
        )


def unread_files(folder: Path) -> list[Path]:
    """Data files beside the part files, whose names name no part."""
    read = [path for path, _ in part_files(folder)]
    return [path for path in _data_files(read[0].parent) if path not in read]


def _data_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    named = sorted(path for path in folder.iterdir() if has_reader(path) and path.name[0] != ".")
    names = {path.name for path in named}
    if any(path.suffix == ".arrow" for path in named) or names.issuperset(SAVED_NOTES):
        named = [path for path in named if path.name not in SAVED_NOTES]
    for path in named:
        refuse_dead_link(path)  # leaving it out would silently lose a part
    return [path for path in named if path.is_file()]


def _stem(path: Path) -> str:
    bare = path.with_suffix("") if path.suffix.lower() in PACKED else path
    return bare.name.rsplit(".", 1)[0]
