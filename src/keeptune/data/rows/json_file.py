"""JSON: an array of objects, an object of parts (train, validation, test), or objects one after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keeptune.core.errors import DataError
from keeptune.data.rows.row import PART_NAMES, Row
from keeptune.data.rows.text import as_object, decode_json, decoded_lines

SPACE = " \t\r\n"
ROW_LISTS = ("data", "rows", "examples")  # names under which files keep their only list
TASK_FILE = {"definition", "instances"}  # keys of natural-instructions, whose "Examples" are no rows
REMEDY = 'write an array of objects, or {"train": [...], "test": [...]}'


def read_json(path: Path) -> Iterator[Row]:
    """Rows of a .json file, with the line where each starts.

    Raises:
        DataError: not JSON, or JSON of another shape.
    """
    text = "".join(line for _, line in decoded_lines(path))
    start = _skip(text, 0)
    if text.startswith("[", start):
        yield from _array(text, start, path)
        return
    if start == len(text):
        return
    value, end = decode_json(text, start, path, _line(text, start))
    if _skip(text, end) < len(text):
        yield from _sequence(text, start, path)
        return
    yield from _parts(as_object(value, path, _line(text, start)), path)


def _array(text: str, start: int, path: Path) -> Iterator[Row]:
    """The elements of the array that opens at ``start``, one at a time, so that each has its line."""
    position, line, counted = _skip(text, start + 1), 1, 0
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        value, end = decode_json(text, position, path, line)
        yield Row(as_object(value, path, line), str(path), line)
        position = _skip(text, end)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
        elif not text.startswith("]", position):
            raise DataError(
                "the array is not closed, or a comma is missing",
                path=path,
                line=_line(text, position),
                remedy="repair the file; it may have been cut short",
            )
    if _skip(text, position + 1) < len(text):
        raise DataError("more text after the array", path=path, line=_line(text, position), remedy=REMEDY)


def _sequence(text: str, start: int, path: Path) -> Iterator[Row]:
    """Objects one after another: JSON Lines under the name of JSON, perhaps indented."""
    position, line, counted = start, 1, 0
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        value, end = decode_json(text, position, path, line)
        yield Row(as_object(value, path, line), str(path), line)
        position = _skip(text, end)


def _parts(value: dict[str, Any], path: Path) -> Iterator[Row]:
    """The rows of {"train": [...], ...} or {"data": [...]}; any other object is one row.

    Lines are then row numbers below the key: 'file.json/test:3'.

    Raises:
        DataError: a part that is no list, or a key beside the parts.
    """
    names = {key.lower() for key in value}
    if names >= TASK_FILE or not names & {*PART_NAMES, *ROW_LISTS}:
        yield Row(value, str(path), 1)
        return
    for key, rows in value.items():
        if key.lower() not in {*PART_NAMES, *ROW_LISTS} or not isinstance(rows, list):
            raise DataError(f"'{key}' is not a part, or not a list of rows", path=path, field=key, remedy=REMEDY)
    for key, rows in value.items():
        place = path / key
        for number, row in enumerate(rows, 1):
            yield Row(as_object(row, place, number), str(place), number, PART_NAMES.get(key.lower()))


def _skip(text: str, position: int) -> int:
    """The index of the next character that is no space."""
    while position < len(text) and text[position] in SPACE:
        position += 1
    return position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
