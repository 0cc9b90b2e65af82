"""Settings of a training. They need no torch: a recipe is checked before anything heavy is imported."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from keeptune.core.config import Config, CountOrAuto


class TrainConfig(Config):
    """How every arm of a study is trained; what differs between arms (rate, seed) is an argument of `fit`."""

    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)  # stop earlier; the schedule is fitted to it
    global_batch: int = Field(16, ge=1)  # examples per optimiser step
    warmup: float = Field(0.06, ge=0, le=1)  # share of the steps
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)  # largest global gradient norm
    token_budget: CountOrAuto = "auto"  # tokens per micro-batch: speed and memory; changes results in rounding only
    validations_per_epoch: int = Field(1, ge=1)
    engine: Literal["flat", "padded"] = "flat"  # padded: the slow reference

    def steps(self, rows: int) -> int:
        """Optimiser steps of a run over so many rows."""
        whole = self.epochs * math.ceil(rows / self.global_batch)
        return min(whole, self.max_steps or whole)
