"""Reading and writing records: JSONL of many rows, JSON of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from keeptune.core.errors import DataError
from keeptune.core.files import write_whole, writing
from keeptune.core.records.base import Record

R = TypeVar("R", bound=Record)


def write_records(path: Path, records: Iterable[Record], *, append: bool = False) -> None:
    """Write records as JSONL; whole files appear at once (written beside, then renamed).

    Raises:
        ResourceError: they cannot be written.
    """
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    if append:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(lines)
        return
    write_whole(path, lines)


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Read a JSONL file of one kind of record.

    Raises:
        DataError: a line that is not such a record, with file and line.
    """
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                raise DataError(
                    f"not a {kind.__name__}: {error.errors()[0]['msg']}",
                    path=path,
                    line=number,
                    remedy="the file was cut short or written by another version; run the arm again",
                ) from error


def write_json(path: Path, record: Record) -> None:
    """Write one record as indented JSON, whole or not at all."""
    write_whole(path, json_text(record))


def json_text(record: Record) -> str:
    """One record as `write_json` writes it."""
    return json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def read_json(path: Path, kind: type[R]) -> R:
    """Read one record written by `write_json`.

    Raises:
        DataError: the file is missing or is not such a record.
    """
    if not path.is_file():
        raise DataError("no such file", path=path, remedy="name a run folder that finished")
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(f"not a {kind.__name__}: {error.errors()[0]['msg']}", path=path) from error
