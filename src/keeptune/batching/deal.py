"""The rows of a step dealt to several processes, so that all of them have the same work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from keeptune.batching.plan import cut_places
from keeptune.batching.trie import common_prefixes, row_paths, worthwhile
from keeptune.data.examples import Encoded

GRAINS = (1, 2, 4)  # pieces per process that a family of rows may be cut into; finer cuts are tried where they help


@dataclass(frozen=True)
class Work:
    """What computing some rows takes, in an order in which rows that share what they begin with are neighbours."""

    order: Sequence[int]  # the numbers of the rows
    tokens: Sequence[int]  # of each of these
    shared: Sequence[int]  # of these tokens, how many are computed with the row before; the first shares none

    @property
    def computed(self) -> int:
        """Tokens that are computed where all rows are together."""
        return sum(self.tokens) - sum(self.shared)

    def of(self, rows: Sequence[int]) -> int:
        """Tokens that are computed where the rows at these places of the order are together."""
        places = sorted(rows)
        total = 0
        for number, place in enumerate(places):
            total += self.tokens[place]
            if number:
                total -= min(self.shared[places[number - 1] + 1 : place + 1])
        return total


def plain_work(rows: Sequence[Encoded]) -> Work:
    """Where nothing is shared."""
    return Work(range(len(rows)), [len(row) for row in rows], [0] * len(rows))


def trie_work(rows: Sequence[Encoded]) -> Work:
    """Where every shared prefix is computed once."""
    paths = sorted(row_paths(rows), key=lambda path: path.key)
    tokens = [len(path.ids) for path in paths]
    return Work([path.example for path in paths], tokens, worthwhile(common_prefixes(paths), tokens))


def pair_work(rows: Sequence[Encoded]) -> Work:
    """Where an equal prompt is read once for all its answers."""
    order = sorted(range(len(rows)), key=lambda index: tuple(rows[index].prompt_ids))
    prompts = [rows[index].prompt_ids for index in order]
    same = [number > 0 and prompt == prompts[number - 1] for number, prompt in enumerate(prompts)]
    shared = [len(prompt) if again else 0 for prompt, again in zip(prompts, same, strict=True)]
    return Work(order, [len(rows[index]) for index in order], shared)


def deal(work: Work, size: int) -> list[list[int]]:
    """The numbers of the rows, in ``size`` shares of about equal work; some are empty where there are few rows.

    Rows that share what they begin with stay together, unless that would give one process more than its part: then
    their family is cut, where the fewest tokens have to be computed on both sides. Of the cuts that are tried the one
    whose largest share is smallest wins. The same for the same rows, wherever it is asked.
    """
    if size == 1:
        return [sorted(work.order)]
    tried = [_spread(work, _pieces(work, math.ceil(work.computed / (size * grain))), size) for grain in GRAINS]
    best = min(tried, key=lambda shares: max(map(work.of, shares)))  # the coarsest of equal ones
    return [sorted(work.order[place] for place in share) for share in best]


def _pieces(work: Work, most: int) -> list[range]:
    """Places of the order, cut between families, and within those that compute more than ``most`` tokens."""
    starts = [place for place, shared in enumerate(work.shared) if not shared]
    pieces = []
    for start, stop in itertools.pairwise([*starts, len(work.order)]):
        tokens, shared = work.tokens[start:stop], work.shared[start:stop]
        whole = sum(tokens) - sum(shared)
        parts = math.ceil(whole / max(most, 1))
        inner = cut_places(tokens, shared, math.ceil(whole / parts)) if parts > 1 else [0]
        pieces += [range(start + a, start + b) for a, b in itertools.pairwise([*inner, stop - start])]
    return pieces


def _spread(work: Work, pieces: Sequence[range], size: int) -> list[list[int]]:
    """The largest piece first, each to the share that has the least so far."""
    costs = {piece: work.of(piece) for piece in pieces}
    shares: list[list[int]] = [[] for _ in range(size)]
    loads = [0] * size
    for piece in sorted(pieces, key=lambda piece: (-costs[piece], piece.start)):
        least = min(range(size), key=loads.__getitem__)
        shares[least] += piece
        loads[least] += costs[piece]
    return shares
