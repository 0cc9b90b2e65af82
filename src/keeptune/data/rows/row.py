"""What every reader yields, and the names that the three parts of a data set go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keeptune.core.records import Part

PART_NAMES: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, columns untouched.

    ``line`` is the line where the row starts in a text file, and the row's number (from 1) elsewhere.
    ``part`` is set where the file or the hub says which part the row belongs to.
    """

    fields: Mapping[str, Any]
    path: str
    line: int
    part: Part | None = None


def part_of(name: str) -> Part | None:
    """The part that a name stands for: 'dev', 'valid-00000-of-00002', 'dialogsum.test' ; None if it names none.

    A name is cut at '-', '_' and '.'; its first piece decides, else its last ('dialogsum.test').
    """
    pieces = name.strip().lower().replace("-", ".").replace("_", ".").split(".")
    return PART_NAMES.get(pieces[0]) or PART_NAMES.get(pieces[-1])


def without_nulls(value: Any) -> Any:
    """The value without keys that are null: a typed column gives every object the keys of all others."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
