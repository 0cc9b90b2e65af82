"""Which rows go together: global batches (one optimiser step each) and micro-batches under a token budget."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from keeptune.batching.trie import Path, build, common_prefixes, flat_batch, row_paths, worthwhile
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded


def global_batches(rows: int, size: int, *, seed: int, epoch: int) -> Iterator[list[int]]:
    """The row indices of every step of one epoch, shuffled; the last step may be smaller.

    The order depends on ``seed`` and ``epoch`` alone, so that all arms of a study see the same rows in the same order.
    """
    order = np.random.default_rng((seed, epoch)).permutation(rows)
    for start in range(0, rows, size):
        yield [int(i) for i in order[start : start + size]]


def shuffled_steps(rows: int, size: int, seed: int) -> Iterator[list[int]]:
    """The row indices of every step, epoch after epoch without end."""
    for epoch in itertools.count():
        yield from global_batches(rows, size, seed=seed, epoch=epoch)


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


def plan_tries(paths: Sequence[Path], token_budget: int) -> list[list[Path]]:
    """Group ``paths`` into micro-batches of at most ``token_budget`` *distinct* tokens and of about equal size.

    Paths with common prefixes go together, since the order is that of their tokens; cuts are made where the fewest
    tokens have to be computed on both sides. A path that is longer than the budget gets a micro-batch of its own.
    """
    paths = sorted(paths, key=lambda path: path.key)
    lengths = [len(path.ids) for path in paths]
    shared = worthwhile(common_prefixes(paths), lengths)
    cuts = cut_places(lengths, shared, token_budget)
    distinct = sum(lengths) - sum(shared) + sum(shared[cut] for cut in cuts)
    even = math.ceil(distinct / max(len(cuts), 1))
    for slack in (1.0, 1.05, 1.15):  # as many micro-batches as needed anyway, but none much larger than another
        evened = cut_places(lengths, shared, min(token_budget, math.ceil(slack * even)))
        if len(evened) <= len(cuts):
            cuts = evened
            break
    return [list(paths[start:stop]) for start, stop in itertools.pairwise([*cuts, len(paths)])]


def micro_batches(rows: Sequence[Encoded], token_budget: int) -> list[TrieBatch]:
    """Token tries of at most ``token_budget`` distinct tokens; equal targets stand there once, with added weights."""
    return [build(paths, merge=True) for paths in plan_tries(row_paths(rows), token_budget)]


def row_batches(rows: Sequence[Encoded], token_budget: int, *, padded: bool = False) -> list[TrieBatch]:
    """Micro-batches in which nothing is written once for several rows, planned as by `plan`."""
    groups = plan([len(row) for row in rows], token_budget, padded=padded)
    return [flat_batch([rows[index] for index in group]) for group in groups]


def cut_places(lengths: Sequence[int], shared: Sequence[int], budget: int) -> list[int]:
    """The first index of every micro-batch. A full one gives up the end of it that shares the least with the rest."""
    cuts: list[int] = []
    start = 0
    while start < len(lengths):
        cuts.append(start)
        used, stop = lengths[start], start + 1
        full = []  # distinct tokens up to every index
        while stop < len(lengths) and used + lengths[stop] - shared[stop] <= budget:
            full.append(used)
            used += lengths[stop] - shared[stop]
            stop += 1
        if stop < len(lengths):
            candidates = [i for i in range(start + 1, stop) if 2 * full[i - start - 1] > budget]
            stop = min((*candidates, stop), key=lambda i: (shared[i], -i))
        start = stop
    return cuts
