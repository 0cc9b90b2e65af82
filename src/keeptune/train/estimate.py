"""What a training will need, from a probe of seconds on some of its rows: time per token and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.train.budget import DEFAULT, Planned, _optimizer_bytes, _Probe
from keeptune.train.memory import used_bytes
from keeptune.train.objective import Objective


@dataclass(frozen=True)
class Needs:
    """Measured on this machine, in this process."""

    seconds_per_token: float  # forward and backward of a real token, optimiser not included
    seconds_per_step: float  # of the optimiser
    memory_bytes: int | None  # peak at the default budget, everything that the process holds included


def probe(lm: LanguageModel, method: Method, rows: Sequence[Encoded], engine: str) -> Needs:
    """Measure ``method`` on some rows; the model is the base before and after."""
    with torch.random.fork_rng([lm.device] if lm.device.type == "cuda" else []):
        lm.adapt(method)
        try:
            measuring = _Probe(lm, method, Planned([list(rows)], Objective(), engine))
            measuring._first()  # libraries load
            seconds, per_token = measuring._measure(DEFAULT)
            trainable = list(method.trainable(lm.model).values())
            held = used_bytes(lm.device)
        finally:
            lm.restore(method)
    weights = sum(p.numel() for p in trainable)
    longest = max(map(len, rows))
    memory = None
    if held is not None:
        gradients = sum(p.numel() * p.element_size() for p in trainable)
        memory = round(held + gradients + _optimizer_bytes(trainable) + per_token * max(DEFAULT, longest))
    return Needs(seconds, 2e-9 * weights, memory)
