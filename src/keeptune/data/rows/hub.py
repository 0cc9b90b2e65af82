"""Data sets of the Hugging Face hub (hf:owner/name or hf:owner/name:config), through `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keeptune.core.errors import DataError, MissingExtra
from keeptune.data.rows.parquet import named_classes
from keeptune.data.rows.row import PART_NAMES, Row

PREFIX = "hf:"


def read_hub(source: str) -> Iterator[Row]:
    """Rows of a hub data set, part by part; class numbers become class names.

    Splits under other names than train, validation and test are left out, unless there is only one.

    Raises:
        DataError: no such set or configuration, no network, or no usable split.
        MissingExtra: `datasets` is not installed.
    """
    name, _, config = source.removeprefix(PREFIX).partition(":")
    if not name.strip("/"):
        raise DataError("no name after 'hf:'", path=source, remedy="write hf:owner/name or hf:owner/name:config")
    splits = _load(name, config or None, source)
    known = {split: rows for split, rows in splits.items() if split.lower() in PART_NAMES}
    if not known and len(splits) != 1:
        raise DataError(
            f"no split is named train, validation or test: {', '.join(splits)}",
            path=source,
            remedy="download the set and name one of its files as the data",
        )
    for split, rows in (known or splits).items():
        names = class_names(rows)
        for number, fields in enumerate(rows, 1):
            yield Row(named_classes(fields, names), f"{source}/{split}", number, PART_NAMES.get(split.lower()))


def _load(name: str, config: str | None, source: str) -> dict[str, Any]:
    """Split name -> data set. Whatever goes wrong inside the library is the data's fault, not the program's."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtra("datasets", "hub") from error
    try:
        return dict(load_dataset(name, config))
    except Exception as error:  # the library raises a dozen kinds, from connection errors to pyarrow's
        text = str(error).strip()
        raise DataError(
            f"the hub data set could not be loaded: {text.splitlines()[0] if text else type(error).__name__}",
            path=source,
            remedy="check the name, the configuration (hf:owner/name:config) and the network; "
            "without a network, name a downloaded file or folder",
        ) from error


def class_names(rows: Any) -> dict[str, list[str]]:
    """Column -> class names of a data set's features."""
    features = getattr(rows, "features", None) or {}
    return {column: list(feature.names) for column, feature in features.items() if getattr(feature, "names", None)}
