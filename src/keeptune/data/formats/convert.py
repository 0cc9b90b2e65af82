"""Rows brought to the fields of their format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.quarantine import Quarantined
from keeptune.data.formats.shapes.base import LOOKED_AT, Format
from keeptune.data.formats.values import UnusableValue
from keeptune.data.rows import Row
from keeptune.data.storage.lazy import LazyMap, materialize
from keeptune.data.storage.spill import Spill


def converted(
    rows: Sequence[Row], format: Format, taken: Sequence[str], supervise: Supervise | None
) -> tuple[Sequence[Row], Sequence[Quarantined]]:
    """The rows with the format's fields, and those that cannot be read."""
    made: Spill[Row] = Spill()
    bad: Spill[Quarantined] = Spill()
    for row in rows:
        try:
            for number, fields in enumerate(format.read(row.fields, taken, supervise)):
                rest = {k: v for k, v in row.fields.items() if k not in taken and k not in fields}
                made.append(replace(row, fields={**rest, **fields}, line=row.line + (number if len(rows) == 1 else 0)))
        except UnusableValue as error:
            bad.append(Quarantined(row.path, row.line, str(error), row.fields))
    return made.finish(), bad.finish()


def from_json(rows: Sequence[Row], columns: Sequence[str]) -> Sequence[Row]:
    """The rows with columns of turns, or of tools, that hold JSON text (as tables bring them back) as what it says."""
    first = rows[:LOOKED_AT]

    def says_turns(column: str) -> bool:
        texts = [v for row in first if (v := row.fields.get(column)) not in (None, "")]
        parsed = [_parsed(text) for text in texts]
        return bool(parsed) and all(isinstance(p, list) and p and isinstance(p[0], Mapping) for p in parsed)

    found = [column for column in columns if says_turns(column)]
    if not found:
        return rows

    def read(row: Row) -> Row:
        values = {column: _parsed(row.fields.get(column)) for column in found}
        known = {column: value for column, value in values.items() if value is not None}
        return replace(row, fields={**row.fields, **known})

    return materialize(LazyMap(rows, read))


def _parsed(text: Any) -> Any:
    """What a JSON text says; None for anything else."""
    if not isinstance(text, str) or not text.lstrip().startswith("[{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
