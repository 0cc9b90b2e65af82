"""Sequences whose items are made when they are looked at: long ones cost no memory."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, starmap
from typing import Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

IN_MEMORY = 50_000  # items; ordinary sets are lists and never touch the disk

T = TypeVar("T")
S = TypeVar("S")


def evenly(items: Sequence[T], most: int) -> list[T]:
    """``most`` of the items, or all, from the first on at equal distances.

    Example:
        >>> evenly("abcdefg", 3)
        ['a', 'c', 'e']
    """
    count = min(len(items), most)
    return [items[i * len(items) // count] for i in range(count)]


class Lazy(Sequence[T]):
    """A sequence that knows its length and how to make an item; negative numbers and slices come with it."""

    def make(self, number: int) -> T:
        """The item with this number, 0 <= number < len(self)."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.make(number) for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        return self.make(number)

    def __iter__(self) -> Iterator[T]:
        return map(self.make, range(len(self)))


class LazyMap(Lazy[T], Generic[S, T]):
    """What ``make_of`` makes of every item of ``items``."""

    def __init__(self, items: Sequence[S], make_of: Callable[[S], T]) -> None:
        self.items, self.make_of = items, make_of

    def __len__(self) -> int:
        return len(self.items)

    @override
    def make(self, number: int) -> T:
        return self.make_of(self.items[number])

    def __iter__(self) -> Iterator[T]:
        return map(self.make_of, self.items)


class NumberedMap(Lazy[T], Generic[S, T]):
    """What ``make_of`` makes of every item's number and the item."""

    def __init__(self, items: Sequence[S], make_of: Callable[[int, S], T]) -> None:
        self.items, self.make_of = items, make_of

    def __len__(self) -> int:
        return len(self.items)

    @override
    def make(self, number: int) -> T:
        return self.make_of(number, self.items[number])

    def __iter__(self) -> Iterator[T]:
        return starmap(self.make_of, enumerate(self.items))


class Subset(Lazy[T]):
    """The items with some numbers, in the order of ``rows`` [N]."""

    def __init__(self, items: Sequence[T], rows: NDArray[np.int64]) -> None:
        self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.rows)

    @override
    def make(self, number: int) -> T:
        return self.items[int(self.rows[number])]


class Concat(Lazy[T]):
    """Several sequences one behind the other."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self.parts = [part for part in parts if len(part)]
        self.ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    @override
    def make(self, number: int) -> T:
        part = bisect_right(self.ends, number)
        return self.parts[part][number - (self.ends[part - 1] if part else 0)]

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self.parts)


def materialize(items: Sequence[T]) -> Sequence[T]:
    """Few items as a list, made once; many as they are."""
    return items if isinstance(items, list) or len(items) > IN_MEMORY else list(items)


def places(items: Iterable[T], wanted: Callable[[T], bool]) -> NDArray[np.int64]:
    """Numbers of the items that are wanted [N]."""
    return np.array(array("q", (number for number, item in enumerate(items) if wanted(item))), dtype=np.int64)


def picked(items: Sequence[T], rows: NDArray[np.int64]) -> Sequence[T]:
    """The items with these numbers, in this order; few of them as a list."""
    return materialize(Subset(items, rows))
