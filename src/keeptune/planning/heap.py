"""The C library's heap on paper: memory that a CPU process keeps because freed blocks lie between used ones.

A model of glibc's malloc as torch uses it: the smallest free block that is large enough serves, neighbours that are
free become one, and a block that shall begin at a multiple of 64 bytes has to be found with room for that to spare, so
that a new tensor may not fit where one of its size has just been. What is free at the end is not counted as kept.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence

from keeptune.planning.trace import Trace

_HEADER, _ALIGNMENT, _LEAST = 16, 64, 32  # bytes


class Heap:
    """Blocks in one stretch of addresses."""

    def __init__(self) -> None:
        self.top = self.peak = 0
        self._used: dict[Hashable, tuple[int, int]] = {}  # name -> (address, size)
        self._starts: dict[int, int] = {}  # free blocks: address -> size
        self._ends: dict[int, int] = {}  # and their end -> address
        self._sizes: list[tuple[int, int]] = []  # and (size, address), ascending

    def take(self, name: Hashable, size: int) -> None:
        """A block of so many bytes, in the smallest hole or at the end."""
        wanted = -(-(size + _HEADER) // 16) * 16
        roomy = wanted + _ALIGNMENT + _LEAST
        place = bisect_left(self._sizes, (roomy, 0))
        if place < len(self._sizes):
            found, address = self._sizes[place]
            self._remove(address, found)
        else:
            address, found = self.top, roomy
            self.top += roomy
        lead = -(address + _HEADER) % _ALIGNMENT
        lead += _ALIGNMENT if 0 < lead < _LEAST else 0
        if lead:
            self._add(address, lead)
        rest = found - lead - wanted
        self._used[name] = (address + lead, wanted if rest >= _LEAST else wanted + rest)
        if rest >= _LEAST:
            self._free(address + lead + wanted, rest)
        self.peak = max(self.peak, self.top)

    def give_back(self, name: Hashable) -> None:
        """The block's memory is free."""
        self._free(*self._used.pop(name))

    def _free(self, address: int, size: int) -> None:
        if address in self._ends:
            before = self._ends[address]
            size += self._remove(before, self._starts[before])
            address = before
        if address + size in self._starts:
            behind = address + size
            size += self._remove(behind, self._starts[behind])
        if address + size == self.top:
            self.top = address
        else:
            self._add(address, size)

    def _add(self, address: int, size: int) -> None:
        self._starts[address], self._ends[address + size] = size, address
        insort(self._sizes, (size, address))

    def _remove(self, address: int, size: int) -> int:
        del self._starts[address], self._ends[address + size]
        del self._sizes[bisect_left(self._sizes, (size, address))]
        return size


def heap_bytes(held: Sequence[int], sums: Sequence[int], moments: Sequence[int], traced: Trace, batches: int) -> int:
    """Where a training's heap ends at its largest: two steps of ``batches`` micro-batches that are all alike.

    Args:
        held: bytes of every tensor that is there before: weights, copies of them, masters.
        sums: bytes of every trained tensor's summed gradient, made after the first micro-batch; 0 where it has none.
        moments: bytes of one moment of every trained tensor; both are made in the first step.
        traced: the micro-batch.
        batches: of a step.
    """
    heap = Heap()
    for number, size in enumerate(held):
        heap.take(("held", number), size)
    for batch in range(2 * batches):
        alive = _micro_batch(heap, traced)
        for number, size in enumerate(sums):
            if batch == 0 and size:
                heap.take(("sum", number), size)
            _drop(heap, traced.gradients[number], alive)
        _drop(heap, tuple(alive), alive)
        for number, size in enumerate(moments if batch == batches - 1 else ()):
            heap.take(("first moment", number), size)
            heap.take(("second moment", number), size)
    return heap.peak


def _micro_batch(heap: Heap, traced: Trace) -> set[int]:
    """Blocks that are left when it is over: the gradients."""
    alive: set[int] = set()
    for block, size in traced.events:
        if size:
            heap.take(block, size)
            alive.add(block)
        elif block in alive:
            heap.give_back(block)
            alive.remove(block)
    return alive


def _drop(heap: Heap, blocks: Sequence[int], alive: set[int]) -> None:
    for block in blocks:
        if block in alive:
            heap.give_back(block)
            alive.remove(block)
