"""Which rows come at which step, where a training stands among them, and after which steps it is validated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from keeptune.batching.plan import shuffled_steps
from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded
from keeptune.models.language_model import LanguageModel
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


def check_rows(lm: LanguageModel, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
    """Refuse what cannot be trained on, before the first step.

    Raises:
        DataError: no training rows, a row longer than the model's context, or one with nothing for an encoder.
    """
    if not train:
        raise DataError("no training rows", remedy="check the split sizes with `keeptune data check`")
    for row in itertools.chain(train, validation):
        if len(row.prompt_ids) > lm.prompt_room(lm.fed(len(row.completion_ids))):
            raise DataError(
                f"a row of {len(row.prompt_ids)} and {len(row.completion_ids)} tokens does not fit the context of"
                f" {lm.context}",
                field=f"id {row.id}",
                remedy="shorten it, or choose a policy for over-long rows",
            )
        if lm.encoder_decoder and not row.prompt_ids:
            raise DataError(
                "a row without a prompt has nothing for the encoder",
                field=f"id {row.id}",
                remedy="give rows of prompt and completion, or use a decoder-only model",
            )


def shuffled_epochs(rows: int, size: int, steps: int, seed: int) -> list[list[int]]:
    """The row indices of so many steps: shuffled epochs, in steps of ``size`` rows."""
    return list(itertools.islice(shuffled_steps(rows, size, seed), steps))


def validation_steps(epoch: float, steps: int, per_epoch: int) -> set[int]:
    """Steps after which to validate: evenly over every epoch of so many steps, and the last."""
    every = epoch / per_epoch
    return {round(i * every) for i in range(1, math.ceil(steps / every) + 1) if round(i * every) <= steps} | {steps}
