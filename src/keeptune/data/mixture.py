"""Several training sets as one.

An epoch has as many rows as all sets together. Without weights it is every row once, shuffled. With weights, each
set fills its share of these places: it is walked through in a shuffled order, all of it before any row comes again,
and the next epoch goes on where this one stopped. So no row of a small set comes twice before every other row of it
came once, and over the epochs all rows of a large set are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from keeptune.core.errors import ConfigError
from keeptune.core.units import content_hash

T = TypeVar("T")


@dataclass(frozen=True)
class Mixture(Generic[T]):
    """Named training sets and the share of an epoch's rows that each gets.

    Attributes:
        sets: name -> rows.
        weights: name -> relative weight (any positive scale); None: in proportion to their sizes.

    Raises:
        ConfigError: an empty set, or weights for other names than those of the sets.
    """

    sets: Mapping[str, Sequence[T]]
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        empty = [name for name, rows in self.sets.items() if not rows]
        if empty or not self.sets:
            raise ConfigError(f"training sets without rows: {', '.join(empty) or 'all'}", remedy="leave them out")
        if self.weights is None:
            return
        if set(self.weights) != set(self.sets):
            raise ConfigError(
                f"weights for {', '.join(sorted(self.weights))}, but the sets are {', '.join(sorted(self.sets))}",
                remedy="give every set one weight",
            )
        if min(self.weights.values()) <= 0:
            raise ConfigError("the weight of a training set must be above 0", remedy="leave the set out instead")

    def __len__(self) -> int:
        """Rows of one epoch."""
        return sum(len(rows) for rows in self.sets.values())

    def counts(self) -> dict[str, int]:
        """Rows of one epoch that each set gets, by largest remainder; their sum is ``len(self)``."""
        if self.weights is None:
            return {name: len(rows) for name, rows in self.sets.items()}
        total = sum(self.weights.values())
        exact = {name: len(self) * weight / total for name, weight in self.weights.items()}
        counts = {name: int(share) for name, share in exact.items()}
        by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
        for name in by_remainder[: len(self) - sum(counts.values())]:
            counts[name] += 1
        return counts

    def epoch(self, seed: int, epoch: int) -> list[tuple[str, T]]:
        """The rows of epoch number ``epoch`` (from 0) in order, with the name of their set.

        The same seed and epoch give the same list in every process; another epoch another order.
        """
        drawn = [
            (name, self.sets[name][row])
            for name, count in sorted(self.counts().items())
            for row in _places(name, len(self.sets[name]), seed, epoch * count, count)
        ]
        order = _generator(seed, "order", epoch).permutation(len(drawn))
        return [drawn[place] for place in order.tolist()]


def _places(name: str, size: int, seed: int, start: int, count: int) -> list[int]:
    """Rows number start to start + count of an endless walk, a new permutation for every pass over the set."""
    first, last = start // size, (start + count - 1) // size
    if not count:
        return []
    passes = [_generator(seed, name, number).permutation(size) for number in range(first, last + 1)]
    offset = start - first * size
    walked: list[int] = np.concatenate(passes)[offset : offset + count].tolist()
    return walked


def _generator(*key: object) -> np.random.Generator:
    return np.random.default_rng(int(content_hash(list(key)), 16))
