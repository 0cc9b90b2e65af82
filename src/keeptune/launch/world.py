"""The processes that train one model together, as one of them sees the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands look for their world before they import torch
    from torch import Tensor


@dataclass(frozen=True)
class World:
    """One process of ``size``, which is alone by default. Whoever starts several gives each a subclass with a `sum`.

    All processes make the same calls in the same order; what each computes of a step or of an evaluation is its own
    share, and sums over all make it whole. `torchrun.joined` is where the world of a process comes from.

    Example:
        >>> World().is_main, World().gather(b"mine")
        (True, [b'mine'])
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and shows what all of them did."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes of a tensor on any device, the same bits in each; ``tensor`` may be overwritten.

        None goes on before all have called, so this is also how they wait for one another.
        """
        if self.size > 1:
            raise NotImplementedError("a world of several processes has to say how it sums")
        return tensor

    def gather(self, mine: bytes) -> list[bytes]:
        """What every process hands in, by rank; the same list in each of them."""
        if self.size == 1:
            return [mine]
        import torch

        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(mine)
        ends = self.sum(lengths).cumsum(0).tolist()
        if not ends[-1]:
            return [b""] * self.size
        starts = [0, *ends[:-1]]
        whole = torch.zeros(ends[-1], dtype=torch.uint8)
        if mine:
            whole[starts[self.rank] : ends[self.rank]] = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
        found = self.sum(whole).numpy()
        return [found[start:end].tobytes() for start, end in zip(starts, ends, strict=True)]

    def first(self, make: Callable[[], bytes]) -> bytes:
        """What the main process makes, in all of them. They wait for it however long it takes."""
        return self.gather(make() if self.is_main else b"")[0]

    def wait(self) -> None:
        """Go on when all have come here, however long the main process takes."""
        self.first(lambda: b"")


ALONE = World()
