"""Sequences that are lists while they are short, and lie in a temporary Arrow file where they are long.

The file lies where Python's `tempfile` puts it (TMPDIR) and is gone with the rows of the process that wrote it. Other
processes that are sent the rows map the same file.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from typing_extensions import override

from keeptune.core.errors import ResourceError
from keeptune.data.storage import lazy
from keeptune.data.storage.arrow import ArrowRows, Column

T = TypeVar("T")
_BATCH = 1_000  # items that are written together


class Spill(Generic[T]):
    """Takes items one after another and gives the sequence of them.

    Example:
        >>> spill = Spill[Row]()
        >>> for row in read_rows(source):
        ...     spill.append(row)
        >>> rows = spill.finish()
    """

    def __init__(self, items: Iterable[T] = (), in_memory: int | None = None) -> None:
        self._items: list[T] = []
        self._file: _TemporaryFile | None = None
        self._in_memory = lazy.IN_MEMORY if in_memory is None else in_memory
        self._length = 0
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Add an item.

        Raises:
            ResourceError: the disk is full or cannot be written.
        """
        self._length += 1
        self._items.append(item)
        if len(self._items) > (self._in_memory if self._file is None else _BATCH):
            self._write()

    def __len__(self) -> int:
        return self._length

    def finish(self) -> Sequence[T]:
        """All items; nothing may be appended any more."""
        if self._file is None:
            return self._items
        self._write()
        self._file.close()
        rows: Spilled[T] = Spilled(self._file.path, self._file)
        return rows

    def _write(self) -> None:
        self._file = self._file or _TemporaryFile()
        for start in range(0, len(self._items), _BATCH):
            batch = self._items[start : start + _BATCH]
            self._file.write([pickle.dumps(item, pickle.HIGHEST_PROTOCOL) for item in batch])
        self._items = []


class Spilled(ArrowRows[T]):
    """Items on disk, made anew whenever they are looked at."""

    def __init__(self, path: Path, file: _TemporaryFile | None = None) -> None:
        super().__init__(path)
        self._file = file  # lives as long as these rows; other processes are not sent it

    @override
    def of_columns(self, columns: Sequence[Column], number: int) -> T:
        item: T = pickle.loads(columns[0](number))
        return item


class _TemporaryFile:
    """An Arrow file of byte strings that is gone with this object."""

    def __init__(self) -> None:
        import pyarrow as pa

        self._schema = pa.schema([("item", pa.large_binary())])
        with _told():
            descriptor, name = tempfile.mkstemp(prefix="keeptune-", suffix=".arrow")
            os.close(descriptor)
            self.path = Path(name)
            weakref.finalize(self, self.path.unlink, missing_ok=True)
            self._sink = pa.OSFile(name, "wb")
            self._writer = pa.ipc.new_file(self._sink, self._schema)

    def write(self, batch: list[bytes]) -> None:
        import pyarrow as pa

        with _told():
            self._writer.write_batch(pa.record_batch([pa.array(batch, pa.large_binary())], self._schema))

    def close(self) -> None:
        with _told():
            self._writer.close()
            self._sink.close()


@contextmanager
def _told() -> Iterator[None]:
    """Within, the file is written.

    Raises:
        ResourceError: it cannot be.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"rows cannot be kept in a temporary file ({os.strerror(error.errno) if error.errno else error})",
            where=tempfile.gettempdir(),
            remedy="free disk space there, or name another folder in the variable TMPDIR",
        ) from error
