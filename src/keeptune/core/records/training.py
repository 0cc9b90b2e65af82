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
