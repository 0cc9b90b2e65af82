"""What programs name as data: paths, specs of the command line, rows that they hold, entries of a recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from keeptune.core.files import cache_folder
from keeptune.data.rows.memory import is_rows, store_rows

if TYPE_CHECKING:  # a notebook may have neither
    from datasets import Dataset, DatasetDict
    from pandas import DataFrame

Data: TypeAlias = "str | os.PathLike[str] | Sequence[Mapping[str, Any]] | DataFrame | Dataset | DatasetDict"
"""A file, a folder, a spec (builtin:orders, hf:owner/name, a task's YAML file), or rows."""

ENTRY = {"data", "task", "text"}  # one of these is in every entry of a recipe


def source(value: Data, name: str) -> str:
    """Data as a command line names it; rows are kept in the cache, in a file called ``name``.

    Raises:
        DataError: rows that cannot be kept.
        TypeError: neither a path nor rows.
    """
    if is_rows(value):
        return str(store_rows(value, cache_folder() / "rows", name))
    if isinstance(value, str | os.PathLike):
        return str(Path(value)) if isinstance(value, os.PathLike) else value
    raise TypeError(f"data is a path or rows, not {type(value).__name__}")


def several(value: Data | Sequence[Data] | None) -> list[Any]:
    """One or more, as a list. A list of mappings is one set of rows, unless one of them is an entry of a recipe."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        return [value]
    rows = is_rows(value) and not any(ENTRY & row.keys() for row in value)
    return [value] if rows else list(value)


def sources(value: Data | Sequence[Data] | None, name: str) -> list[str]:
    """`source` of one or more; of several sets of rows the second is called ``name``-2."""
    return [source(each, _numbered(name, number)) for number, each in enumerate(several(value), 1)]


def entries(value: Any, name: str) -> Any:
    """One or more targets or retained suites as a recipe writes them.

    ``value`` is one of, or a list of: what `source` accepts, entries of a recipe whose ``data`` may be rows, and the
    names of sets ("standard"). "none" stays as it is.
    """
    from keeptune.recipe.entries import entries_of

    if value == "none" or value is None:
        return value
    found: list[Any] = []
    for number, each in enumerate(several(value), 1):
        called = _numbered(name, number)
        if isinstance(each, Mapping) and not is_rows(each):
            found.append(_entry(each, called))
        elif isinstance(each, str | os.PathLike) or is_rows(each):
            found += entries_of(source(each, called))
        else:
            found.append(each)
    return found


def _entry(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An entry of a recipe, its paths as text."""
    paths = {key: os.fspath(value) for key, value in entry.items() if isinstance(value, os.PathLike)}
    data = {"data": source(entry["data"], str(entry.get("name") or name))} if "data" in entry else {}
    return {**entry, **paths, **data}


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"
