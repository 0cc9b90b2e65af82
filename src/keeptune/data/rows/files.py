"""Which reader reads a file, by the end of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.data.rows.csv_file import read_csv
from keeptune.data.rows.json_file import read_json
from keeptune.data.rows.jsonl import read_jsonl
from keeptune.data.rows.parquet import read_arrow, read_parquet
from keeptune.data.rows.row import Row
from keeptune.data.rows.text import PACKED

Reader = Callable[[Path], Iterator[Row]]

READERS: Mapping[str, Reader] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".tab": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}


def read_file(path: Path) -> Iterator[Row]:
    """Rows of one file; text formats may be packed (.jsonl.gz, .jsonl.zst).

    Raises:
        DataError: no reader for this name, or the file cannot be read.
    """
    reader = _reader(path)
    if reader is None:
        raise DataError(
            f"no reader for the ending '{path.suffix}'", path=path, remedy=f"known endings: {', '.join(READERS)}"
        )
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device may have no end
            raise DataError("a pipe or a device, not a file", path=path, remedy="write its content to a file first")
        yield from reader(path)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", path=path, remedy="check the file and its permissions"
        ) from error


def has_reader(path: Path) -> bool:
    """Whether the name ends in a known way."""
    return _reader(path) is not None


def _reader(path: Path) -> Reader | None:
    name = path.name.lower()
    packed = name.endswith(PACKED)
    reader = READERS.get((Path(name).with_suffix("") if packed else Path(name)).suffix)
    return None if packed and reader in (read_parquet, read_arrow) else reader


def refuse_dead_link(path: Path) -> None:
    """Nothing, unless the path is a link to something that is not there.

    Raises:
        DataError: it is.
    """
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"a link to '{path.readlink()}', which is not there",
            path=path,
            remedy="bring back what it points to, or remove the link",
        )
