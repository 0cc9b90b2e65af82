"""The processes that train one model together, as one of them sees the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """One process of ``size``, which is alone by default. Whoever starts several gives each a subclass with a `sum`.

    Every process holds the whole model and computes its share of every step; sums over all make the step whole.

    Example:
        >>> World().is_main, World().shard([3, 1, 4, 1, 5])
        (True, [3, 1, 4, 1, 5])
        >>> [World(rank, size=2).shard([3, 1, 4, 1, 5]) for rank in (0, 1)]
        [[3, 4, 5], [1, 1]]
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and shows what all of them did."""
        return self.rank == 0

    def shard(self, step: Sequence[T]) -> Sequence[T]:
        """What of a step is this process's; all shards together are the step, and some may be empty."""
        return step if self.size == 1 else step[self.rank :: self.size]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes of a tensor on any device, the same in each of them.

        All processes call it equally often and in the same order. None goes on before all have called, so this is
        also how they wait for one another.
        """
        if self.size > 1:
            raise NotImplementedError("a world of several processes has to say how it sums")
        return tensor


ALONE = World()
