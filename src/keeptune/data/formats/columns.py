"""Columns of a source that are not content: names for templates, the part column, row numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.data.formats.recognise import ColumnSchema, canonical
from keeptune.data.rows import Row
from keeptune.data.rows.row import PART_NAMES

PART_COLUMNS = ("split", "part", "partition", "subset")
IDENTIFIER = re.compile(r"_?id|idx|index|guid|uid|uuid|fname|\w+_(id|idx|index)")
# Words that Jinja reads as its own.
RESERVED = frozenset(("and", "or", "not", "in", "is", "if", "else", "elif", "for", "loop", "answer_choices")).union(
    ("true", "false", "none", "True", "False", "None")
)


def template_names(columns: Sequence[str], path: str | None = None) -> dict[str, str]:
    """Column -> the name that templates can write: 'Review Text' -> 'Review_Text'; most names stay.

    Raises:
        DataError: two columns would get the same name.
    """
    names: dict[str, str] = {}
    for column in columns:
        name = column
        if not column.isidentifier() or column in RESERVED:
            name = re.sub(r"\W+", "_", column).strip("_") or "column"
            name = f"_{name}" if not name.isidentifier() or name in RESERVED else name
        if name in names.values():
            raise DataError(
                f"two columns are called {name} in templates", path=path, field=column, remedy="rename one of them"
            )
        names[column] = name
    return names


def renamed(row: Row, names: Mapping[str, str]) -> Row:
    """The row with its columns under those names."""
    if all(names[column] == column for column in row.fields):
        return row
    return replace(row, fields={names[column]: value for column, value in row.fields.items()})


def renamings(names: Mapping[str, str]) -> tuple[str, ...]:
    """What the user has to know about them."""
    return tuple(f"column '{column}' is called {name} in templates" for column, name in names.items() if name != column)


def part_column(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[Part | None], str | None]:
    """The part of every row, and the column that says so, where no file name does.

    Raises:
        DataError: a part column with some values that name a part and some that do not.
    """
    if any(row.part for row in rows):
        return [row.part for row in rows], None
    for column in columns:
        if canonical(column) not in PART_COLUMNS:
            continue
        parts = [PART_NAMES.get(str(row.fields.get(column)).strip().lower()) for row in rows]
        if all(parts):
            return parts, column
        if any(parts):
            bad = rows[parts.index(None)]
            raise DataError(
                f"'{bad.fields.get(column)}' names no part",
                path=bad.path,
                line=bad.line,
                field=column,
                remedy="write train, validation or test in every row, or rename the column",
            )
    return [None] * len(rows), None


def identifiers(columns: Sequence[str], layout: ColumnSchema | None) -> set[str]:
    """Columns that only number the rows: they would make equal rows look different."""
    used = {*layout.roles.values(), *layout.references} if layout else set()
    return {column for column in columns if column not in used and IDENTIFIER.fullmatch(canonical(column))}
