"""One optimiser step, and the same sums without one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from keeptune.batching.types import Batch
from keeptune.core.records import StepRecord
from keeptune.data.examples import Encoded
from keeptune.launch.world import ALONE, World
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.outputs import target_logprobs
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW


@dataclass(frozen=True)
class StepResult:
    """Tensors stay on the device until someone logs them."""

    loss: Tensor  # scalar float32, nats per trained token over the global batch
    grad_norm: Tensor  # scalar float32, before clipping
    tokens: int
    trained_tokens: int

    def to_record(self, step: int, lr: float, started: float) -> StepRecord:
        """Wait for the device and note the step; ``started`` is its `time.perf_counter`."""
        loss, norm = torch.stack([self.loss, self.grad_norm]).tolist()
        return StepRecord(
            step=step,
            loss=loss,
            lr=lr,
            grad_norm=norm,
            tokens=self.tokens,
            trained_tokens=self.trained_tokens,
            seconds=time.perf_counter() - started,
        )


def batches_for(lm: LanguageModel, rows: Sequence[Encoded], token_budget: int) -> list[Batch]:
    """The micro-batches that suit ``lm`` in the mode that it is in; none of no rows."""
    return lm.engine.train_batches(lm, rows, token_budget) if rows else []


def train_step(
    lm: LanguageModel,
    batches: Sequence[Batch],
    objective: Objective,
    optimizer: MasterAdamW,
    lr: float,
    clip: float,
    world: World = ALONE,
) -> StepResult:
    """Forward and backward over the micro-batches of one global batch, then one update.

    The loss is a sum over targets, divided once by the weight of the whole global batch, so that the gradient does not
    depend on how rows are spread over micro-batches, or over the processes of ``world``. Where loss or gradient is not
    finite the weights stay as they are, and the gradients are still there.
    """
    counts = [sum(batch.weight for batch in batches), sum(batch.tokens for batch in batches)]
    weight, tokens = world.sum(torch.tensor(counts, dtype=torch.float64)).tolist()
    total = torch.zeros((), device=lm.device)
    objective.begin(lm, batches, world)
    for batch in batches:
        loss, nll = objective(lm, batch.to(lm.device), 1 / weight)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.accumulate()
        total += nll
    optimizer.sum_over(world)
    loss_of_step = world.sum(total)
    norm = optimizer.step(lr, clip) if torch.isfinite(loss_of_step) else torch.full_like(loss_of_step, torch.nan)
    return StepResult(loss_of_step, norm, round(tokens), round(weight))


def mean_nll(lm: LanguageModel, rows: Sequence[Encoded], token_budget: int) -> float:
    """Nats per trained token over ``rows``, without dropout."""
    with evaluating(lm):
        batches = [batch.to(lm.device) for batch in batches_for(lm, rows, token_budget)]
        total = sum(float((target_logprobs(lm, batch) * batch.weights).sum()) for batch in batches)
    return -total / sum(batch.weight for batch in batches)
