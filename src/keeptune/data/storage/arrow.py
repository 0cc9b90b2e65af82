"""Rows in an Arrow IPC file: a memory map, from which each is made when it is looked at.

Sent to another process, they are the file's path: whoever looks at them maps the same file.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from typing_extensions import override

from keeptune.data.storage.lazy import Lazy

T = TypeVar("T")
_BATCHES = 16  # record batches that are read through until their pages are given back


class Column(NamedTuple):
    """Byte strings, or lists of numbers, of one record batch, as views: Arrow's own scalars take microseconds each."""

    offsets: memoryview
    values: memoryview

    def __call__(self, number: int) -> memoryview:
        """What stands there in the row with this number."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]


class ArrowRows(Lazy[T]):
    """The rows of a file whose columns are `large_binary` or `large_list(int32)`, without nulls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._batch = self._read_through = 0

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def of_columns(self, columns: Sequence[Column], number: int) -> T:
        """The row with this number of a record batch."""
        raise NotImplementedError

    @override
    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @override
    def make(self, number: int) -> T:
        batch = bisect_right(self._ends, number)
        if batch == self._batch + 1:
            self._read_through += 1
            if self._read_through % _BATCHES == 0 and hasattr(mmap, "MADV_DONTNEED"):
                self._map.madvise(mmap.MADV_DONTNEED)  # or else all of a file that is read through counts as memory
        self._batch = batch
        return self.of_columns(self._batches[batch], number - (self._ends[batch - 1] if batch else 0))

    @cached_property
    def file(self) -> Any:
        """The opened file.

        Raises:
            OSError: there is none.
            ValueError: it is not whole.
        """
        import pyarrow as pa

        return pa.ipc.open_file(pa.py_buffer(self._map))

    @cached_property
    def _map(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self.file.get_batch(number).num_rows for number in range(self.file.num_record_batches)))

    @cached_property
    def _batches(self) -> list[list[Column]]:
        numbers = range(self.file.num_record_batches)
        return [[_viewed(column) for column in self.file.get_batch(number).columns] for number in numbers]


def _viewed(column: Any) -> Column:
    _, offsets, *_, values = (memoryview(b"" if buffer is None else buffer) for buffer in column.buffers())
    return Column(offsets.cast("q"), values if len(column.buffers()) == 3 else values.cast("i"))
