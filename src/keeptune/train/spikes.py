"""Steps whose loss stands out from those before them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

BEFORE = 20  # steps that a loss is compared with
FEWEST = 8  # of them, below which nothing stands out
SPREADS = 8.0  # a spike lies so many median deviations above the median of the steps before it
SHARE = 1.3  # and is so many times as large
NATS = 0.1  # and so much larger: where next to nothing is left to learn, three times as much is nothing, too
MOST = 5  # spikes of one training; further ones are only in its curve


class Spikes:
    """Watches the losses of a training."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._found = 0

    def add(self, loss: float) -> float | None:
        """Take in the loss of a step, nats per trained token.

        Returns:
            The median of the losses before, where this one stands out from them; else None.
        """
        usual = stands_out(loss, self._losses) if self._found < MOST else None
        self._found += usual is not None
        self._losses = [*self._losses, loss][-BEFORE:]
        return usual

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return {"losses": self._losses, "found": self._found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the losses before."""
        self._losses, self._found = list(state["losses"]), state["found"]


def stands_out(loss: float, before: Sequence[float]) -> float | None:
    """The median of the losses before, where this one lies far above it."""
    if len(before) < FEWEST:
        return None
    usual = median(before)
    spread = median(abs(each - usual) for each in before)
    return usual if loss > max(usual + SPREADS * spread, SHARE * usual, usual + NATS) else None
