"""Blocks of a heap on paper."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from keeptune.planning.heap import Heap


def test_a_hole_needs_room_to_spare() -> None:
    heap = Heap()
    for name in "abc":
        heap.take(name, 4096)
    heap.give_back("b")
    top = heap.top
    heap.take("d", 4096 + 32)
    assert heap.top > top
    heap.take("e", 2048)
    assert heap.top < top + 2 * 4096  # while a smaller one goes into the hole


def test_neighbours_become_one() -> None:
    heap = Heap()
    for name in "abcd":
        heap.take(name, 1024)
    top = heap.top
    heap.give_back("b")
    heap.give_back("c")
    heap.take("e", 1900)
    assert heap.top == top


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5000)), max_size=120))
def test_no_two_blocks_overlap_and_everything_can_be_given_back(asked: list[tuple[int, int]]) -> None:
    heap, alive = Heap(), dict[int, int]()
    for name, size in asked:
        if name in alive:
            heap.give_back(name)
            del alive[name]
        else:
            heap.take(name, size)
            alive[name] = size
        places = sorted(heap._used.values())
        assert all(start + size <= after for (start, size), (after, _) in pairwise(places))
        assert heap.peak >= heap.top >= sum(alive.values())
    for name in alive:
        heap.give_back(name)
    assert heap.top == 0
