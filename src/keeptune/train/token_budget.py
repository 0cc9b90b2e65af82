"""The token budget of one training: decided when it begins, noted in its folder, halved where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keeptune.core.errors import ResourceError
from keeptune.core.records import EngineRecord, write_json
from keeptune.data.examples import Encoded
from keeptune.launch.world import World
from keeptune.train.microbatch_autotune import FILE

log = logging.getLogger(__name__)


class TokenBudget:
    """What was decided, in engine.json; a training that goes on keeps to it (see `Stateful`)."""

    def __init__(self, engine: EngineRecord, folder: Path, world: World) -> None:
        self.engine, self.path, self.world = engine, folder / FILE, world
        self._note()

    @property
    def tokens(self) -> int:
        """Distinct tokens of a micro-batch."""
        return self.engine.token_budget

    def halve(self, step: int, rows: Sequence[Encoded]) -> None:
        """Split steps into micro-batches of half the tokens from now on; global batches stay as they are.

        Raises:
            ResourceError: every micro-batch is a single row already.
        """
        if self.tokens <= max(map(len, rows)):
            raise ResourceError(
                "memory ran out with one row per micro-batch",
                where=f"step {step}",
                remedy="leave out the longest rows, train fewer weights (lora), or use a machine with more memory",
            )
        half = self.tokens // 2
        log.warning("memory ran out at step %d: micro-batches have at most %d tokens from now on", step, half)
        why = f"{self.engine.why}; halved at step {step}, where memory ran out"
        self.engine = self.engine.model_copy(update={"token_budget": half, "why": why})
        self._note()

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return self.engine.model_dump(mode="json")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with what was decided."""
        self.engine = EngineRecord.model_validate(state)
        self._note()

    def _note(self) -> None:
        if self.world.is_main:
            write_json(self.path, self.engine)
