"""JSON Lines: one object per line; blank lines are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.data.rows.json_file import read_json
from keeptune.data.rows.row import Row
from keeptune.data.rows.text import as_object, decode_json, decoded_lines


def read_jsonl(path: Path) -> Iterator[Row]:
    """Rows of a .jsonl file. A file that holds one JSON array instead is read as such.

    Raises:
        DataError: a line that is not one JSON object.
    """
    first = True
    for number, line in decoded_lines(path):
        text = line.strip()
        if not text:
            continue
        if first and text.startswith("["):
            yield from read_json(path)
            return
        first = False
        value, end = decode_json(text, 0, path, number)
        if text[end:].strip():
            raise DataError(
                f"more text after the object, from column {end + 1}",
                path=path,
                line=number,
                remedy="write one object per line",
            )
        yield Row(as_object(value, path, number), str(path), number)
