"""Rows that a program holds become files, so that what was done with them can be done again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keeptune.core.errors import DataError
from keeptune.core.files import write_whole
from keeptune.core.units import content_hash
from keeptune.data.rows.hub import class_names
from keeptune.data.rows.parquet import named_classes


def is_rows(value: object) -> bool:
    """Whether a value holds rows: a list of mappings, a pandas frame, a data set of `datasets` or a dict of them.

    A mapping that is no `DatasetDict` is no rows: in a recipe it is an entry.
    """
    if isinstance(value, str | os.PathLike):
        return False
    if isinstance(value, Mapping):
        return bool(value) and all(_is_dataset(part) for part in value.values())
    if _is_frame(value) or _is_dataset(value):
        return True
    return isinstance(value, Sequence) and bool(value) and all(isinstance(row, Mapping) for row in value)


def store_rows(value: Any, folder: Path, name: str) -> Path:
    """Write rows below ``folder``, in a folder made of their content; equal rows are written once.

    Args:
        value: what `is_rows` accepts.
        folder: made where it is not there.
        name: of the file, and so of the task that is made of it.

    Returns:
        A JSONL file, or of a dict of data sets a folder with a JSONL file for every part.

    Raises:
        DataError: no rows, or a value that JSON cannot hold.
    """
    if isinstance(value, Mapping):
        texts = {f"{name}/{part}.jsonl": _lines(rows) for part, rows in value.items()}
    else:
        texts = {f"{name}.jsonl": _lines(value)}
    place = folder / content_hash(texts)
    for file, text in texts.items():
        if not (place / file).is_file():
            write_whole(place / file, text)
    return place / (name if isinstance(value, Mapping) else f"{name}.jsonl")


def _lines(value: Any) -> str:
    rows = list(_rows(value))
    if not rows:
        raise DataError("no rows", remedy="give at least one row")
    lines = []
    for number, row in enumerate(rows, 1):
        try:
            lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        except (TypeError, ValueError) as error:
            raise DataError(
                f"row {number} cannot be written as JSON ({error})",
                remedy="rows hold texts, numbers, lists and mappings of these",
            ) from error
    return "".join(lines)


def _rows(value: Any) -> Iterable[Mapping[str, Any]]:
    """Rows as plain mappings: missing values of pandas as None, class numbers of `datasets` as class names."""
    if _is_frame(value):
        frame = value.astype(object)
        return frame.where(frame.notna(), None).to_dict("records")  # type: ignore[no-any-return]
    if _is_dataset(value):
        names = class_names(value)
        return (named_classes(row, names) for row in value)
    return (dict(row) for row in value)


def _is_frame(value: object) -> bool:
    return _comes_from(value, "pandas") and hasattr(value, "to_dict") and hasattr(value, "columns")


def _is_dataset(value: object) -> bool:
    return _comes_from(value, "datasets") and hasattr(value, "features")


def _comes_from(value: object, package: str) -> bool:
    """Whether a value's class, or one that it is made from, is defined in a package, which need not be installed."""
    return any(kind.__module__.partition(".")[0] == package for kind in type(value).__mro__)
