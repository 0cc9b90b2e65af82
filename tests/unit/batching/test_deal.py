"""Rows dealt to processes: all of them once, in shares of even work."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from keeptune.batching.deal import deal, pair_work, plain_work, trie_work
from keeptune.batching.plan import micro_batches
from keeptune.data.examples import Encoded

Rows = Callable[..., list[Encoded]]


def families(draw: random.Random, count: int, members: int) -> list[Encoded]:
    """Rows of which ``members`` each begin with one prompt of 30 to 60 tokens, in any order."""
    rows = []
    for _ in range(count):
        prompt = tuple(draw.randrange(3, 300) for _ in range(draw.randint(30, 60)))
        for _ in range(members):
            answer = tuple(draw.randrange(3, 300) for _ in range(draw.randint(2, 20)))
            rows.append(Encoded(str(len(rows)), prompt, answer))
    draw.shuffle(rows)
    return rows


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("work", [plain_work, trie_work, pair_work])
def test_every_row_is_dealt_once_and_always_to_the_same_share(branching_rows: Rows, size: int, work: Callable) -> None:
    rows = branching_rows(23)
    shares = deal(work(rows), size)
    assert sorted(number for share in shares for number in share) == list(range(23))
    assert len(shares) == size and shares == deal(work(rows), size)


def test_few_rows_leave_shares_empty(branching_rows: Rows) -> None:
    assert sorted(map(len, deal(trie_work(branching_rows(1)), 3))) == [0, 0, 1]


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("members", [1, 4, 200])
@pytest.mark.parametrize("seed", range(5))
def test_shares_compute_equally_much_and_hardly_more_than_together(size: int, members: int, seed: int) -> None:
    """What is counted are the tokens of the tries that are built, not those of the plan."""
    rows = families(random.Random(seed), max(1, 40 // members), members)
    computed = [
        sum(batch.computed for batch in micro_batches([rows[number] for number in share], 10**6))
        for share in deal(trie_work(rows), size)
    ]
    together = sum(batch.computed for batch in micro_batches(rows, 10**6))
    assert max(computed) <= sum(computed) / size + max(map(len, rows)), "uneven by more than a row"
    assert sum(computed) <= together + (size - 1) * 60, "a prompt is computed again by each further share at most"


def test_work_is_what_the_tries_compute(branching_rows: Rows) -> None:
    rows = branching_rows(19)
    assert trie_work(rows).computed == sum(batch.computed for batch in micro_batches(rows, 10**6))


def test_equal_prompts_of_pairs_stay_together() -> None:
    rows = families(random.Random(0), 8, 3)
    for share in deal(pair_work(rows), 2):
        prompts = {rows[number].prompt_ids for number in share}
        assert len(share) == 3 * len(prompts)
