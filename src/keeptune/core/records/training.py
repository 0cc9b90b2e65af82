"""What a training writes while it runs."""

from __future__ import annotations

from keeptune.core.records.base import Record


class StepRecord(Record):
    """One optimiser step (steps.jsonl)."""

    step: int
    loss: float  # nats per trained token, mean over the global batch
    lr: float
    grad_norm: float  # before clipping
    tokens: int  # non-pad tokens of this step
    trained_tokens: int  # tokens with loss mask 1 of this step
    seconds: float  # wall time of this step


class SkippedRecord(Record):
    """A step without an update, because its loss or its gradient was not finite (skipped.jsonl)."""

    step: int
    loss: float | None  # nats per trained token; None: not finite
    grad_norm: float | None
    rows: tuple[str, ...]  # ids of the step's rows
    gradient: str | None  # the first trained tensor whose gradient is not finite
    weight: str  # the trained tensor with the largest value, or one that is not finite
    largest: float | None  # that value

    def __str__(self) -> str:
        """What happened, in a line."""
        what = "the loss" if self.loss is None else "the gradient"
        where = f", first in the gradient of {self.gradient}" if self.gradient else ""
        value = "not finite" if self.largest is None else f"{self.largest:.3g}"
        rows = ", ".join(self.rows[:8]) + (" …" if len(self.rows) > 8 else "")
        return (
            f"{what} of step {self.step} is not finite{where}; largest weight: {value} in {self.weight}; rows: {rows}"
        )


class RowLoss(Record):
    """A training row and its loss."""

    id: str
    loss: float  # nats per trained token
    path: str = ""  # where the row came from, where that is known
    line: int = 0


class SpikeRecord(Record):
    """A step whose loss stood out from those before it, and its rows (spikes.jsonl)."""

    step: int
    loss: float  # nats per trained token
    usual: float  # median of the steps before
    rows: tuple[RowLoss, ...]  # the largest loss right after the step first


class ValidationRecord(Record):
    """Validation loss after a step (validation.jsonl)."""

    step: int
    loss: float  # nats per trained token
    best: bool


class EngineRecord(Record):
    """How a run was split into micro-batches (engine.json). Changes speed and memory; results in rounding only."""

    key: str  # hash of what the decision holds for: model, method, device, number format, lengths of rows
    token_budget: int  # distinct tokens per micro-batch
    checkpointing: bool = False  # activations computed again in backward, to save memory
    why: str
    probed: bool = False  # memory was measured; otherwise given or a default
