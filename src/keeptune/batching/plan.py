"""Which rows go together: global batches (one optimiser step each) and micro-batches under a token budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def global_batches(rows: int, size: int, *, seed: int, epoch: int) -> Iterator[list[int]]:
    """The row indices of every step of one epoch, shuffled; the last step may be smaller.

    The order depends on ``seed`` and ``epoch`` alone, so that all arms of a study see the same rows in the same order.
    """
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    for start in range(0, rows, size):
        yield [int(i) for i in order[start : start + size]]


def plan(lengths: Sequence[int], token_budget: int, *, padded: bool = False) -> list[list[int]]:
    """Group indices of ``lengths`` into micro-batches of at most ``token_budget`` tokens, longest first.

    Rows of similar length go together. With ``padded`` a group costs its size times its longest row. A row that is
    longer than the budget gets a micro-batch of its own. Grouping changes no gradient, only the memory needed.
    """
    groups: list[list[int]] = []
    longest = used = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        cost = longest if padded else lengths[index]
        if groups and used + cost <= token_budget:
            groups[-1].append(index)
            used += cost
        else:
            groups.append([index])
            longest = used = lengths[index]
    return groups
