"""Texts of which the first stay in memory and the others lie in a temporary file.

The file has no name and is gone with the object. It lies where Python's `tempfile` puts it (TMPDIR).
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from keeptune.core.errors import ResourceError

IN_MEMORY = 50_000  # items; ordinary sets never touch the disk
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


class Texts(Sequence[str]):
    """Texts that are appended once and read any number of times."""

    def __init__(self, texts: Iterable[str] = (), in_memory: int = IN_MEMORY) -> None:
        self._first: list[str] = []
        self._others: Spill | None = None
        self._in_memory = in_memory
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text."""
        if len(self._first) < self._in_memory:
            self._first.append(text)
        else:
            self._others = Spill() if self._others is None else self._others
            self._others.append(text.encode("utf-8", "surrogatepass"))

    def __len__(self) -> int:
        return len(self._first) + (len(self._others) if self._others is not None else 0)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        index = index + len(self) if index < 0 else index
        if index < len(self._first):
            return self._first[index]
        if self._others is None or index >= len(self):
            raise IndexError(index)
        return self._others[index - len(self._first)].decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        for data in self._others or ():
            yield data.decode("utf-8", "surrogatepass")

    def only(self, rows: Sequence[int]) -> Sequence[str]:
        """The texts with these numbers, which rise, without copying them."""
        return _Some(self, rows)


class _Some(Sequence[str]):
    def __init__(self, texts: Texts, rows: Sequence[int]) -> None:
        self.texts, self.rows = texts, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self.texts[row] for row in self.rows[index]]
        return self.texts[self.rows[index]]

    def __iter__(self) -> Iterator[str]:
        wanted = iter(self.rows)
        row = next(wanted, None)
        for number, text in enumerate(self.texts):
            if number == row:
                yield text
                row = next(wanted, None)
