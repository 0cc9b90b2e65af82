"""What a training does about a step that fails: memory that ran out, a loss or a gradient that is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from keeptune.core.records import SkippedRecord, StepRecord
from keeptune.data.examples import Encoded
from keeptune.train.optim import MasterAdamW

_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # RuntimeErrors of torch's CPU allocator


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on a GPU or on the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def skipped(record: StepRecord, rows: Sequence[Encoded], optimizer: MasterAdamW) -> SkippedRecord:
    """What can be said of a step whose loss or gradient is not finite, while its gradients are there."""
    masters = dict(zip(optimizer.names, optimizer.masters, strict=True))
    bad = (name for name, master in masters.items() if master.grad is not None and not _finite(master.grad))
    values = {name: float(master.detach().abs().max()) for name, master in masters.items() if master.numel()}
    weight = max(values, key=lambda name: values[name] if math.isfinite(values[name]) else math.inf)
    return SkippedRecord(
        step=record.step,
        loss=_known(record.loss),
        grad_norm=_known(record.grad_norm),
        rows=tuple(row.id for row in rows),
        gradient=next(bad, None),
        weight=weight,
        largest=_known(values[weight]),
    )


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
