from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from keeptune.batching.plan import global_batches, plan, plan_tries
from keeptune.batching.trie import WORTH, Path, build, row_paths
from keeptune.data.examples import Encoded

Rows = Callable[..., list[Encoded]]


def distinct(paths: list[Path]) -> int:
    return len({tuple(path.ids[: n + 1]) for path in paths for n in range(len(path.ids))})


def rows_of(lengths: list[int]) -> list[Encoded]:
    """Rows that share nothing, with so many tokens to compute."""
    return [Encoded(str(i), (3 + i,) * n, (3 + i,)) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("padded", [False, True])
def test_every_row_once_within_the_budget(padded: bool) -> None:
    lengths = [random.Random(i).randint(1, 90) for i in range(200)]
    groups = plan(lengths, 100, padded=padded)
    assert sorted(i for group in groups for i in group) == list(range(200))
    for group in groups:
        sizes = [lengths[i] for i in group]
        cost = len(sizes) * max(sizes) if padded else sum(sizes)
        assert cost <= 100
        assert sizes == sorted(sizes, reverse=True)


def test_a_row_above_the_budget_stands_alone() -> None:
    assert plan([5, 300, 4], 10) == [[1], [0, 2]]


def test_no_rows_no_groups() -> None:
    assert plan([], 10) == []


def test_an_epoch_is_a_permutation_that_seed_and_epoch_decide() -> None:
    first = list(global_batches(10, 4, seed=1, epoch=0))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(itertools.chain.from_iterable(first)) == list(range(10))
    assert first == list(global_batches(10, 4, seed=1, epoch=0))
    assert first != list(global_batches(10, 4, seed=1, epoch=1))
    assert first != list(global_batches(10, 4, seed=2, epoch=0))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget", [40, 100, 400])
def test_tries_hold_every_path_once_within_the_budget(branching_rows: Rows, seed: int, budget: int) -> None:
    paths = row_paths(branching_rows(50, seed=seed, longest=60, vocabulary=(6, 300)[seed % 2]))
    groups = plan_tries(paths, budget)
    assert sorted(path.example for group in groups for path in group) == list(range(50))
    for group in groups:
        assert distinct(group) <= budget or len(group) == 1
        laid_out = len(build(group, merge=True).input_ids)  # short prefixes are not worth a segment
        assert laid_out <= budget + 2 * WORTH or len(group) == 1


def test_a_path_above_the_budget_stands_alone() -> None:
    groups = plan_tries(row_paths(rows_of([30, 4, 5])), 10)
    assert [[len(path.ids) for path in group] for group in groups] == [[30], [4, 5]]


@pytest.mark.parametrize("seed", range(10))
def test_tries_are_of_equal_size_and_as_few_as_greedy_filling_needs(seed: int) -> None:
    draw = random.Random(seed)
    lengths = [draw.randint(1, 40) for _ in range(100)]
    greedy, used = 0, 500
    for length in lengths:
        greedy, used = (greedy, used + length) if used + length <= 500 else (greedy + 1, length)
    sizes = [sum(len(path.ids) for path in group) for group in plan_tries(row_paths(rows_of(lengths)), 500)]
    assert len(sizes) == greedy
    assert max(sizes) <= 1.2 * sum(sizes) / len(sizes)


def test_tries_are_cut_where_the_least_is_shared() -> None:
    families = [[(10 * f, *[10 * f] * 29, n, n) for n in range(1, 5)] for f in range(1, 4)]  # 30 tokens in common
    rows = [Encoded("x", ids, (1,)) for family in families for ids in family]
    random.Random(0).shuffle(rows)
    groups = plan_tries(row_paths(rows), 73)  # a family and a half would fit
    assert [sorted({int(path.ids[0]) for path in group}) for group in groups] == [[10], [20], [30]]


def test_no_paths_no_tries() -> None:
    assert plan_tries([], 10) == []
