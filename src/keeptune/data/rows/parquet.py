"""Parquet and Arrow through pyarrow, one batch of rows at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keeptune.core.errors import DataError, ResourceError
from keeptune.data.rows.row import Row, without_nulls

ROWS_PER_BATCH = 1024


def read_parquet(path: Path) -> Iterator[Row]:
    """Rows of a .parquet file; class numbers become class names where the file tells them (hub files do).

    Raises:
        DataError: not Parquet, damaged, with texts that are not UTF-8, or with two columns of one name.
        ResourceError: pyarrow is not installed.
    """
    return _rows(path, _parquet_batches, "Parquet", "write or download the file again, columns of dates as texts")


def read_arrow(path: Path) -> Iterator[Row]:
    """Rows of an .arrow file as `datasets` saves them (a stream, or a file), class names as in `read_parquet`.

    Raises:
        DataError: not Arrow, or damaged.
        ResourceError: pyarrow is not installed.
    """
    return _rows(path, _arrow_batches, "Arrow", "save the data set again")


def _rows(path: Path, batches: Callable[[Path], Iterator[tuple[Any, Any]]], name: str, remedy: str) -> Iterator[Row]:
    """Rows of what ``batches`` gives: (schema, batch of rows), one after another."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ResourceError("pyarrow is not installed", where=str(path), remedy="pip install pyarrow") from error
    number = 0
    try:
        for schema, batch in batches(path):
            names = _class_names(schema.metadata or {})
            for fields in batch.to_pylist():
                number += 1
                yield Row(named_classes(fields, names), str(path), number)
    # Python has no dates beyond the year 9999 (an ArithmeticError), pytz not every time zone (a LookupError).
    except (pa.ArrowException, OSError, ValueError, NotImplementedError, ArithmeticError, LookupError) as error:
        told = str(error) and not isinstance(error, LookupError)
        raise DataError(
            f"not readable as {name} after row {number}: {str(error).splitlines()[0] if told else repr(error)}",
            path=path,
            remedy=remedy,
        ) from error


def _parquet_batches(path: Path) -> Iterator[tuple[Any, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _refuse_repeated(file.schema_arrow.names, path)
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            yield file.schema_arrow, batch


def _arrow_batches(path: Path) -> Iterator[tuple[Any, Any]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            table = pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_file(source).read_all()
        _refuse_repeated(table.schema.names, path)
        for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH):
            batch.validate(full=True)  # a damaged file's offsets may point outside its buffers
            yield table.schema, batch


def _refuse_repeated(columns: Sequence[str], path: Path) -> None:
    """Raises DataError for two columns of one name: rows would keep the last alone."""
    repeated = [column for column in columns if columns.count(column) > 1]
    if repeated:
        raise DataError(f"two columns are called '{repeated[0]}'", path=path, remedy="rename one of them")


def named_classes(fields: Mapping[str, Any], names: Mapping[str, list[str]]) -> Mapping[str, Any]:
    """The row with class numbers replaced by their names, and no nulls in nested objects (see `without_nulls`).

    The class number -1 (the hub's 'no label') becomes None.
    """
    row = {column: without_nulls(value) for column, value in fields.items()}
    for column, classes in names.items():
        value = row.get(column)
        if isinstance(value, int):
            row[column] = classes[value] if 0 <= value < len(classes) else None
    return row


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> class names, from the note that the `datasets` library leaves in its files."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}
