"""Where a model runs and in which number format."""

from __future__ import annotations

import functools
import math
import time

import torch

from keeptune.core.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def pick_device(device: str) -> torch.device:
    """ "auto" is the first CUDA GPU, else Apple's GPU, else the CPU.

    Raises:
        ConfigError: a device that this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device '{device}' cannot be used here", where="device", remedy="use auto or cpu") from error
    return chosen


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """ "auto" is bf16 on a GPU that has it; on a CPU whichever of bf16 and fp32 multiplies matrices faster.

    Raises:
        ConfigError: an unknown precision.
    """
    if precision == "auto":
        useful = bf16_is_faster() if device.type == "cpu" else has_bf16(device)
        return torch.bfloat16 if useful else torch.float32
    if precision not in DTYPES:
        raise ConfigError(f"no precision '{precision}'", where="precision", remedy="use auto, bf16 or fp32")
    return DTYPES[precision]


def has_bf16(device: torch.device) -> bool:
    """Whether a GPU multiplies bf16 matrices at all; every CUDA GPU does, Apple's do from macOS 14 on."""
    if device.type != "mps":
        return True
    try:
        ones = torch.ones(2, 2, dtype=torch.bfloat16, device=device)
        return float((ones @ ones)[0, 0]) == 2.0
    except (RuntimeError, TypeError):
        return False


@functools.cache
def bf16_is_faster() -> bool:
    """Whether this CPU does a linear layer's work in bf16 at least 1.3 times as fast as in fp32 (0.15 s, once).

    Processors without instructions for bf16 take 15 to 20 times as long as in fp32: a first look at few rows is enough.
    """
    return _speedup(rows=32, seconds=0.02) > 0.5 and _speedup(rows=256, seconds=0.1) > 1.3


def _speedup(rows: int, seconds: float) -> float:
    """fp32 time over bf16 time of a layer's three products (forward, and the gradients of input and weight).

    Best of alternating repeats within ``seconds``, at least two: other programs can only make a repeat slower.
    """
    width, out = 576, 1536
    best = {torch.float32: math.inf, torch.bfloat16: math.inf}
    data = {
        dtype: [torch.ones(shape, dtype=dtype) for shape in ((rows, width), (out, width), (rows, out))]
        for dtype in best
    }
    began, repeats = time.perf_counter(), 0
    while repeats < 2 or time.perf_counter() - began < seconds:
        for dtype, (x, w, grad) in data.items():
            started = time.perf_counter()
            torch.mm(x, w.T)
            torch.mm(grad, w)
            torch.mm(grad.T, x)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
        repeats += 1
    return best[torch.float32] / best[torch.bfloat16]
