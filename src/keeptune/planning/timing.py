"""How long forward, backward and the optimiser take: measured where the device is at hand, on paper otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from keeptune.data.examples import Encoded
from keeptune.methods.base import MethodConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.sketch import depth, empty_model
from keeptune.planning.devices import COPYING, HOST_LINK, LAUNCH, UTILISATION, Device
from keeptune.planning.memory import Layout, Sizes
from keeptune.planning.trace import Trace
from keeptune.train.microbatch_autotune import Planned, Probe
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW

PROBED = 4_000_000  # weights that the optimiser is timed on
PROBED_LAYERS = 150_000_000  # weights of the layers that are timed at most, where they are more than two
DEEPEST = 12  # layers that are timed at most: a line from 2 and 6 to 30 makes seven times of what disturbs the sixth
UPDATE_BYTES = 34  # read and written per trained bf16 weight: sums, clipping, AdamW and the rounded weight
RECOMPUTED = 4 / 3  # forward once more: 8 products per weight where there were 6 (arXiv 2205.05198)


@dataclass(frozen=True)
class Rates:
    """Seconds of one process for itself."""

    per_token: float  # forward and backward of a real token
    per_weight: float  # the optimiser, for a trained weight and step


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimiser step."""

    compute: float  # forward and backward of the slowest rank
    update: float  # the optimiser
    network: float  # waiting for other processes and for the host's memory

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute + self.update + self.network


def measured_rates(
    sketch: LanguageModel,
    settings: MethodConfig,
    rows: Sequence[Encoded],
    budget: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> Rates:
    """Rates of this machine, from models of the same layers and random weights, of which two depths are timed.

    A step's time is a straight line in the number of layers: what is in none of them (embedding, head) is timed with
    both. Nothing of the real model's weights is read.

    Args:
        sketch: the whole model on paper.
        settings: of the method.
        rows: of a step of middle size.
        budget: tokens of a micro-batch.
        device: that is at hand.
        clock: seconds; those of the processor alone where others share it.
    """
    config = sketch.model.config
    whole = depth(config)
    layer = max(1, Sizes.of(sketch, settings.build()).largest_block // sketch.dtype.itemsize)
    deep = min(whole, max(2, min(DEEPEST, PROBED_LAYERS // layer)))
    depths = sorted({min(2, deep) if deep > 2 else 1, deep})
    seconds = [_timed(sketch, settings, rows, budget, device, layers, clock) for layers in depths]
    slope = (seconds[-1] - seconds[0]) / (depths[-1] - depths[0]) if len(depths) > 1 else 0.0
    return Rates(seconds[-1] + slope * (whole - depths[-1]), optimizer_rate(sketch.dtype, device, clock))


def _timed(
    sketch: LanguageModel,
    settings: MethodConfig,
    rows: Sequence[Encoded],
    budget: int,
    device: torch.device,
    layers: int,
    clock: Callable[[], float],
) -> float:
    """Seconds per real token with so many layers."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model = empty_model(sketch.model.config, sketch.dtype, str(device), layers)
        lm = LanguageModel.wrap(model, sketch.tokenizer, name=sketch.name, weights_hash="random")
        method = settings.build()
        lm.adapt(method)
        probe = Probe(lm, method, Planned([rows], Objective(), "flat"), clock=clock)
        probe.first()  # libraries load
        return probe.measure(budget).seconds


def optimizer_rate(dtype: torch.dtype, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds per weight of adding up a gradient and an update, the best of some."""
    side = 512
    weights = [nn.Parameter(torch.zeros(side, side, dtype=dtype, device=device)) for _ in range(PROBED // side**2)]
    optimizer, times = MasterAdamW(weights), []
    for _ in range(4):
        for weight in weights:
            weight.grad = torch.full_like(weight, 1e-3)
        started = clock()
        optimizer.accumulate()
        optimizer.step(1e-3, 1.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - started)
    return min(times) / sum(weight.numel() for weight in weights)


def paper_rates(device: Device, traced: Trace, real_tokens: int) -> Rates:
    """Rates of a device of the table: a micro-batch's products at a share of its peak, the optimiser's bytes.

    A small model is bound by the time that it takes to start its operations.
    """
    seconds = max(traced.flops / (UTILISATION * device.flops), LAUNCH * traced.operations)
    return Rates(seconds / real_tokens, UPDATE_BYTES / (COPYING * device.bandwidth))


def step_time(
    rates: Rates,
    sizes: Sizes,
    layout: Layout,
    tokens: int,
    batches: int,
    link: float,
    device: Device | None = None,
) -> StepTime:
    """Seconds of a step of ``tokens`` real tokens over all ranks, of ``batches`` micro-batches on each.

    Data parallel: gradients in float32 go round a ring once backward is done, 2 (n - 1) / n of their bytes for each
    rank (Patarasuk and Yuan 2009). Sharded: the weights are gathered for forward and for backward and gradients
    scattered, (n - 1) / n of their bytes each, for every micro-batch. On a GPU this is hidden behind what is computed,
    as far as that lasts (arXiv 2304.11277); on a CPU the processor moves the bytes itself. Offloaded: masters, moments
    and sums stay where the host updates them; weights and gradients cross to the device and back.

    Args:
        rates: of one process for itself.
        sizes: of the adapted model.
        layout: how ranks share the training.
        tokens: real ones, of the whole step.
        batches: micro-batches of a rank.
        link: bytes per second between neighbours of a ring.
        device: the GPU that is planned for.
    """
    share = layout.ranks if layout.sharded else 1
    compute = rates.per_token * tokens / layout.ranks * (RECOMPUTED if layout.checkpointing else 1.0)
    update = rates.per_weight * sizes.trained / share
    part, hidden = (layout.ranks - 1) / layout.ranks, 0.0 if device is None else compute
    if layout.sharded:
        waiting = max(0.0, part * batches * (2 * sizes.weights + 4 * sizes.trained) / link - hidden)
    else:
        waiting = 2 * part * 4 * sizes.trained / link
    if layout.offload and device is not None:
        waiting += max(0.0, batches * (2 * sizes.weights + 2 * sizes.trained) / share / HOST_LINK - compute)
        update *= device.bandwidth * COPYING / 100e9  # by the host's memory, 100 GB/s
    return StepTime(compute, update, waiting)
