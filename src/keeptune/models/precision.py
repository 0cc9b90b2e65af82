"""Where a model runs and in which number format."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from keeptune.core.errors import ConfigError

BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "amx_tile", "arm_bf16", "bf16")  # as torch names them
DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


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
    """ "auto" is bf16 on a GPU that has it; on a CPU bf16 where it has instructions for it.

    Raises:
        ConfigError: an unknown precision.
    """
    if precision == "auto":
        useful = cpu_has_bf16() if device.type == "cpu" else has_bf16(device)
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


def cpu_has_bf16() -> bool:
    """Whether this processor has instructions for bf16 products: AVX-512 BF16, AMX, or those of Arm.

    Others take 15 to 20 times as long as in fp32. Asked of the processor and not of a stopwatch: a busy machine must
    train what a quiet one trains.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        known = torch.cpu.get_capabilities()
        return any(bool(known.get(name)) for name in BF16_INSTRUCTIONS)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
