"""What a training will need, from a probe of seconds on one of its steps: time per token and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from keeptune.data.examples import Encoded
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.train.memory import used_bytes
from keeptune.train.microbatch_autotune import DEFAULT, Planned, Probe
from keeptune.train.objective import Objective
from keeptune.train.optim import optimizer_bytes

UPDATE = 2e-9  # seconds per trained weight and step: clipping, AdamW, rounding


@dataclass(frozen=True)
class Needs:
    """Measured on this machine, in this process."""

    seconds_per_token: float  # forward and backward of a real token
    seconds_per_step: float  # of the optimiser
    memory_bytes: int | None  # peak of the process, with micro-batches of the default budget


def probe(
    lm: LanguageModel, method: Method, steps: Sequence[Sequence[Encoded]], engine: str, threads: int | None = None
) -> Needs:
    """Measure ``method`` on the step of middle size; the model is the base before and after.

    Args:
        steps: the rows of every optimiser step.
        engine: "flat" or "padded".
        threads: that the training will have; those of this process by default.
    """
    sizes = [sum(map(len, rows)) for rows in steps]
    typical = steps[sorted(range(len(steps)), key=sizes.__getitem__)[len(steps) // 2]]
    with _threads(threads), torch.random.fork_rng([lm.device] if lm.device.type == "cuda" else []):
        lm.adapt(method)
        try:
            measuring = Probe(lm, method, Planned([typical], Objective(), engine))
            measuring.first()  # libraries load
            found = measuring.measure(DEFAULT)
            trainable = list(method.trainable(lm.model).values())
            held = used_bytes(lm.device)
        finally:
            lm.restore(method)
    weights = sum(p.numel() for p in trainable)
    memory = None
    if held is not None:
        gradients = sum(p.numel() * p.element_size() for p in trainable)
        longest = max(len(row) for rows in steps for row in rows)
        batch = max(min(DEFAULT, max(sizes)), longest)
        memory = round(held + gradients + optimizer_bytes(trainable) + found.per_token * batch)
    return Needs(found.seconds, UPDATE * weights, memory)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
