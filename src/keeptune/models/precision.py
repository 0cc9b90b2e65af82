"""Where a model runs and in which number format."""

from __future__ import annotations

import functools
import time

import torch

from keeptune.core.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def pick_device(device: str) -> torch.device:
    """ "auto" is the first GPU where there is one, else the CPU.

    Raises:
        ConfigError: a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device '{device}' cannot be used here", where="device", remedy="use auto or cpu") from error
    return chosen


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """ "auto" is bf16 on a GPU; on a CPU whichever of bf16 and fp32 multiplies matrices faster.

    Raises:
        ConfigError: an unknown precision.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type != "cpu" or bf16_is_faster() else torch.float32
    if precision not in DTYPES:
        raise ConfigError(f"no precision '{precision}'", where="precision", remedy="use auto, bf16 or fp32")
    return DTYPES[precision]


@functools.cache
def bf16_is_faster() -> bool:
    """Whether this CPU multiplies bf16 matrices at least 1.3 times as fast as fp32 ones (about 30 ms, once)."""
    times = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(512, 512, dtype=dtype)
        b = torch.ones(512, 512, dtype=dtype)
        torch.mm(a, b)  # first call: kernel choice and packing
        runs = []
        for _ in range(7):
            started = time.perf_counter()
            torch.mm(a, b)
            runs.append(time.perf_counter() - started)
        times[dtype] = min(runs)
    return times[torch.float32] > 1.3 * times[torch.bfloat16]
