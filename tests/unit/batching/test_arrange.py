"""What the arrangement lets every token see, read from its groups alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.batching.arrange import PACKED, SHARED, WASTE, Arrangement, Group, arrange
from keeptune.batching.trie import build, flat_batch, row_paths
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded

Rows = Callable[..., list[Encoded]]


def trie(*segments: tuple[int, int]) -> TrieBatch:
    """A batch of (length, parent) segments; its tokens do not matter."""
    lengths = [length for length, _ in segments]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    table = [[start, length, parent] for start, (length, parent) in zip(starts, segments, strict=True)]
    empty = torch.zeros(0, dtype=torch.int64)
    ids = torch.zeros(sum(lengths), dtype=torch.int64)
    return TrieBatch(empty, empty, empty, empty, empty, empty, 0, 0.0, ids, ids, torch.tensor(table))


def slots(group: Group, tokens: int) -> tuple[Tensor, Tensor]:
    """([m * n, L] rows of the batch, [m * n, L] whether the slot is one and no padding)."""
    m, n, length, _ = group.shape
    query = torch.arange(tokens) if group.query is None else group.query
    real = torch.ones(m * n * length, dtype=torch.bool)
    if group.pads is not None:
        real[group.pads] = False
    return query.view(m * n, length), real.view(m * n, length)


def seen(arrangement: Arrangement, tokens: int, window: int | None) -> Tensor:
    """[T, C + T] how often every query sees every key."""
    counts = torch.zeros(tokens, arrangement.prefix + tokens, dtype=torch.int64)
    for group in arrangement.groups:
        m, n, length, reach = group.shape
        query, real = slots(group, tokens)
        causal = torch.ones(length, length, dtype=torch.bool).triu(1)
        own, path = group.own_hidden(window), group.path_hidden(window)
        own = (causal if own is None else own).expand(m, 1, n, 1, length, length).reshape(m * n, length, length)
        path = torch.tensor(False) if path is None else path
        path = path.expand(m, 1, n, 1, length, reach).reshape(m * n, length, reach)
        keys = torch.zeros(m, reach, dtype=torch.int64) if group.path is None else group.path.view(m, reach)
        for run in range(m * n):
            at, mine = query[run][:, None], arrangement.prefix + query[run]
            counts.index_put_((at, mine), (~own[run] & real[run][:, None]).long(), accumulate=True)
            counts.index_put_((at, keys[run // n]), (~path[run] & real[run][:, None]).long(), accumulate=True)
    return counts


def expected(batch: TrieBatch, ancestors: Callable[[TrieBatch], Tensor], prefix: int, window: int | None) -> Tensor:
    allowed = torch.cat([torch.ones(len(batch.input_ids), prefix, dtype=torch.bool), ancestors(batch)], dim=1)
    depth = allowed.sum(1) - 1
    of_key = torch.cat([torch.arange(prefix), depth])
    if window is not None:
        allowed &= depth[:, None] - of_key < window
    return allowed.long()


@pytest.mark.parametrize("seed", range(9))
@pytest.mark.parametrize("prefix", [0, 7])
@pytest.mark.parametrize("window", [None, 1, 6, 45, 500])
def test_a_token_sees_its_ancestors_and_itself_once(
    branching_rows: Rows, ancestors: Any, seed: int, prefix: int, window: int | None
) -> None:
    rows = branching_rows(20, seed=seed, longest=(12, 60, 200)[seed % 3])
    batch = build(row_paths(rows), share=bool(seed % 5))
    arrangement = arrange(batch, prefix)
    tokens = len(batch.input_ids)
    assert torch.equal(seen(arrangement, tokens, window), expected(batch, ancestors, prefix, window))


@pytest.mark.parametrize("seed", range(16))
def test_every_row_has_one_slot(branching_rows: Rows, seed: int) -> None:
    batch = build(row_paths(branching_rows(20, seed=seed, longest=(12, 60, 200)[seed % 3])))
    tokens = len(batch.input_ids)
    arrangement = arrange(batch)
    found = [slots(group, tokens) for group in arrangement.groups]
    laid = torch.cat([query.flatten() for query, _ in found])
    real = torch.cat([real.flatten() for _, real in found])
    assert sorted(laid[real].tolist()) == list(range(tokens))
    order = torch.arange(len(laid)) if arrangement.order is None else arrangement.order
    assert laid[order].tolist() == list(range(tokens))
    assert real[order].all()


def test_one_row_alone_needs_neither_gathering_nor_mask() -> None:
    arrangement = arrange(flat_batch([Encoded("a", (5,) * 300, (6,))]))
    (group,) = arrangement.groups
    assert group.shape == (1, 1, 300, 0)
    assert group.query is None and group.pads is None and group.path is None and arrangement.order is None
    assert group.own_hidden(None) is None and group.path_hidden(None) is None
    assert group.own_hidden(300) is None  # a window that no token reaches
    assert group.own_hidden(299) is not None


def test_equal_rows_stand_side_by_side() -> None:
    arrangement = arrange(trie((200, -1), (200, -1)))
    assert [group.shape for group in arrangement.groups] == [(1, 2, 200, 0)]
    assert arrangement.order is None


def test_masks_of_a_small_tree() -> None:
    arrangement = arrange(trie((2, -1), (2, 0), (1, 0)))  # tokens 0 1 | 2 3 | 4
    (group,) = arrangement.groups
    assert group.shape == (1, 1, 5, 0)  # one packed run
    own = group.own_hidden(None)
    assert own is not None
    assert own[0, 0, 0, 0].logical_not().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    windowed = group.own_hidden(2)  # a window counts depths, not places
    assert windowed is not None
    assert windowed[0, 0, 0, 0].logical_not().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 1, 0, 0, 1],
    ]


def test_short_leaves_of_a_long_parent_are_packed_behind_one_path() -> None:
    arrangement = arrange(trie((200, -1), (3, 0), (4, 0), (2, 0)))
    root, leaves = arrangement.groups
    assert root.shape == (1, 1, 200, 0)
    assert leaves.shape == (1, 1, 9, 200)
    assert leaves.path is not None and leaves.path.tolist() == list(range(200))
    assert leaves.path_hidden(None) is None
    hidden = leaves.path_hidden(100)
    assert hidden is not None
    first_seen = [200 - int((~row).sum()) for row in hidden[0, 0, 0, 0]]
    assert first_seen == [101, 102, 103, 101, 102, 103, 104, 101, 102]
    own = leaves.own_hidden(None)
    assert own is not None
    assert own[0, 0, 0, 0].logical_not().int().sum(1).tolist() == [1, 2, 3, 1, 2, 3, 4, 1, 2]


def test_a_packed_run_is_no_longer_than_packed() -> None:
    leaves = 3 * PACKED // 10
    arrangement = arrange(trie((200, -1), *[(10, 0)] * leaves))
    lengths = [group.shape[2] for group in arrangement.groups[1:] for _ in range(group.shape[0] * group.shape[1])]
    assert max(lengths) <= PACKED
    assert sum(lengths) >= 10 * leaves
    assert len(lengths) == -(-leaves // (PACKED // 10))


def test_many_runs_on_one_parent_use_its_path_once() -> None:
    arrangement = arrange(trie((150, -1), *[(140, 0)] * SHARED))
    assert [group.shape for group in arrangement.groups] == [(1, 1, 150, 0), (1, SHARED, 140, 150)]


def test_few_runs_bring_their_paths_which_are_padded() -> None:
    few = SHARED - 1
    arrangement = arrange(trie((150, -1), *[(140, 0)] * few, (160, -1), *[(140, few + 1)] * few))
    own = [group for group in arrangement.groups if group.path is not None]
    assert [group.shape for group in own] == [(2 * few, 1, 140, 160)]
    hidden = own[0].path_hidden(None)
    assert hidden is not None
    assert hidden.flatten(1).sum(1).tolist() == [0] * few + [10] * few  # longest first


def test_padding_wastes_little() -> None:
    lengths = (150, 400, 220, 190, 410, 200, 140, 390, 30, 20, 10)
    arrangement = arrange(flat_batch([Encoded("x", (5,) * n, (6,)) for n in lengths]))
    assert 1 < len(arrangement.groups) < len(lengths)
    for group in arrangement.groups:
        _, real = slots(group, len(arrangement.order if arrangement.order is not None else ()))
        cells = int((real.sum(1) ** 2).sum())
        assert real.numel() * group.shape[2] - cells <= max(WASTE, cells / 2)


def test_roots_that_continue_a_prefix_are_packed_and_see_it() -> None:
    batch = flat_batch([Encoded("a", (5, 6), (7,)), Encoded("b", (5,), (6, 7))])
    (group,) = arrange(batch, prefix=40).groups
    assert group.shape == (1, 1, 4, 40)
    assert group.depth.tolist() == [[40, 41, 40, 41]]
    assert group.path is not None and group.path.tolist() == list(range(40))
