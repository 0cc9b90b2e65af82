"""What a training came to so far, and in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from keeptune.core.records import StepRecord
from keeptune.train.best import Best
from keeptune.train.memory import peak_bytes

COUNTED = ("steps", "tokens", "trained_tokens", "seconds", "first", "skipped", "in_a_row")


@dataclass(frozen=True)
class FitResult:
    """What a training came to."""

    steps: int  # updates done
    best_step: int  # the step whose weights were kept; 0 is the base
    best_loss: float | None  # validation nats per trained token at best_step; None without validation rows
    tokens: int  # real tokens seen
    trained_tokens: int  # of which with loss mask 1
    seconds: float  # spent in steps, validation not included
    tokens_per_second: float  # real tokens, the first step left out where there are more
    peak_memory_bytes: int | None
    diverged: bool
    skipped: int = 0  # steps without an update, because loss or gradient was not finite


class Tally:
    """Sums over the steps of a training, whichever processes took them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.steps = self.tokens = self.trained_tokens = 0
        self.seconds = 0.0
        self.first = (0, 0.0)  # tokens and seconds of the first step, which is slow
        self.skipped = self.in_a_row = 0  # steps without an update: all of them, and those since the latest update
        self._peak: int | None = None  # bytes, of the processes before this one

    def add(self, record: StepRecord) -> None:
        """A step was taken."""
        if self.steps == 0:
            self.first = (record.tokens, record.seconds)
        self.steps += 1
        self.tokens += record.tokens
        self.trained_tokens += record.trained_tokens
        self.seconds += record.seconds
        self.in_a_row = 0

    def skip(self) -> None:
        """A step was left out."""
        self.skipped += 1
        self.in_a_row += 1

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest peak of all processes so far."""
        return max(filter(None, (peak_bytes(self._device), self._peak)), default=None)

    def result(self, best: Best, *, diverged: bool) -> FitResult:
        """The whole."""
        tokens, seconds = (self.tokens, self.seconds) if self.steps < 2 else self._after_the_first()
        return FitResult(
            steps=self.steps,
            best_step=best.step,
            best_loss=best.loss if math.isfinite(best.loss) else None,
            tokens=self.tokens,
            trained_tokens=self.trained_tokens,
            seconds=self.seconds,
            tokens_per_second=tokens / seconds if seconds else 0.0,
            peak_memory_bytes=self.peak_memory_bytes,
            diverged=diverged,
            skipped=self.skipped,
        )

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return {**{name: getattr(self, name) for name in COUNTED}, "peak": self.peak_memory_bytes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        for name in COUNTED:
            setattr(self, name, state[name])
        self.first, self._peak = (state["first"][0], state["first"][1]), state["peak"]

    def _after_the_first(self) -> tuple[int, float]:
        tokens, seconds = self.first
        return self.tokens - tokens, self.seconds - seconds
