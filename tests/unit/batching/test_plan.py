from __future__ import annotations

import itertools
import random

import pytest

from keeptune.batching.plan import global_batches, plan


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
