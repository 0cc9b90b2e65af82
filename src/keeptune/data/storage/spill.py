"""Things of which the first stay in memory and the others lie in a temporary file.

The file has no name and is gone with the object. It lies where Python's `tempfile` puts it (TMPDIR).
"""

from __future__ import annotations

import os
import pickle
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from keeptune.core.errors import ResourceError
from keeptune.data.storage import lazy
from keeptune.data.storage.lazy import Lazy, Subset

T = TypeVar("T")
_BUFFER = 1 << 20


class Spill:
    """Byte strings in a temporary file, read back by number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this object
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._pending = bytearray()
        self._written = 0

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, data: bytes) -> int:
        """Store, and return the number."""
        self._pending += data
        self._ends.append(self._ends[-1] + len(data))
        if len(self._pending) >= _BUFFER:
            self._flush()
        return len(self) - 1

    def __getitem__(self, number: int) -> bytes:
        return self._read(self._ends[number], self._ends[number + 1])

    def __iter__(self) -> Iterator[bytes]:
        number = 0
        while number < len(self):
            begin, last = self._ends[number], number + 1
            while last < len(self) and self._ends[last + 1] - begin < _BUFFER:
                last += 1
            data = self._read(begin, self._ends[last])
            for item in range(number, last):
                yield data[self._ends[item] - begin : self._ends[item + 1] - begin]
            number = last

    def _read(self, begin: int, end: int) -> bytes:
        if end > self._written:
            self._flush()
        if not hasattr(os, "pread"):
            self._file.seek(begin)
            return self._file.read(end - begin)
        return os.pread(self._file.fileno(), end - begin, begin)

    def _flush(self) -> None:
        try:
            self._file.seek(self._written)
            self._file.write(self._pending)
            self._file.flush()
        except OSError as error:
            raise ResourceError(
                f"rows cannot be kept in a temporary file ({error.strerror or error})",
                where=tempfile.gettempdir(),
                remedy="free disk space there, or name another folder in the variable TMPDIR",
            ) from error
        self._written += len(self._pending)
        self._pending.clear()


class Kept(Lazy[T], Generic[T]):
    """Items that are appended once and read any number of times; those on disk are made anew every time."""

    def __init__(self, items: Iterable[T] = (), in_memory: int | None = None) -> None:
        self._first: list[T] = []
        self._others: Spill | None = None
        self._in_memory = lazy.IN_MEMORY if in_memory is None else in_memory
        for item in items:
            self.append(item)

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process the items are kept anew, in memory and in a file of its own."""
        return type(self), (list(self), self._in_memory)

    def append(self, item: T) -> None:
        """Add an item."""
        if len(self._first) < self._in_memory:
            self._first.append(item)
        else:
            self._others = Spill() if self._others is None else self._others
            self._others.append(self.to_bytes(item))

    def to_bytes(self, item: T) -> bytes:
        """As it is written."""
        return pickle.dumps(item, pickle.HIGHEST_PROTOCOL)

    def of_bytes(self, data: bytes) -> Any:
        """The item again; what is read was written by this process to a file without a name."""
        return pickle.loads(data)

    def __len__(self) -> int:
        return len(self._first) + (len(self._others) if self._others is not None else 0)

    def make(self, number: int) -> T:
        """Read from memory or disk."""
        if number < len(self._first):
            return self._first[number]
        assert self._others is not None
        item: T = self.of_bytes(self._others[number - len(self._first)])
        return item

    def __iter__(self) -> Iterator[T]:
        yield from self._first
        for data in self._others or ():
            yield self.of_bytes(data)

    def materialize(self) -> Sequence[T]:
        """The list of all items, where none is on disk."""
        return self if self._others is not None else self._first


class Texts(Kept[str]):
    """The same of texts, which may hold half a surrogate pair."""

    def to_bytes(self, item: str) -> bytes:
        """As UTF-8."""
        return item.encode("utf-8", "surrogatepass")

    def of_bytes(self, data: bytes) -> str:
        """The text again."""
        return data.decode("utf-8", "surrogatepass")

    def only(self, rows: Sequence[int]) -> Sequence[str]:
        """The texts with these numbers, which rise, without copying them."""
        return _Some(self, np.asarray(rows, dtype=np.int64))


class _Some(Subset[str]):
    """Read through in one go: the numbers rise."""

    def __iter__(self) -> Iterator[str]:
        wanted = iter(self.rows)
        row = next(wanted, None)
        for number, text in enumerate(self.items):
            if number == row:
                yield text
                row = next(wanted, None)
