"""Which rows come at which step, where a training stands among them, and after which steps it is validated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from keeptune.batching.plan import shuffled_steps
from keeptune.data.examples import Encoded
from keeptune.train.remedies.base import Steps


class Position:
    """Where a training stands in its steps. Iterating gives (number, rows) of every step that is still to come."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.begun = 0

    def __iter__(self) -> Iterator[tuple[int, Sequence[Encoded]]]:
        while self.begun < len(self.steps):
            rows = self.steps[self.begun]
            self.begun += 1
            yield self.begun, rows

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return {"begun": self.begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the steps that were taken."""
        self.begun = state["begun"]


def shuffled_epochs(rows: int, size: int, steps: int, seed: int) -> list[list[int]]:
    """The row indices of so many steps: shuffled epochs, in steps of ``size`` rows."""
    return list(itertools.islice(shuffled_steps(rows, size, seed), steps))


def validation_steps(epoch: float, steps: int, per_epoch: int) -> set[int]:
    """Steps after which to validate: evenly over every epoch of so many steps, and the last."""
    every = epoch / per_epoch
    return {round(i * every) for i in range(1, math.ceil(steps / every) + 1) if round(i * every) <= steps} | {steps}
