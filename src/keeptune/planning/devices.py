"""Devices that a plan may be made for without having one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keeptune.core.errors import ConfigError
from keeptune.core.registry import either

UTILISATION = 0.4  # of a GPU's peak that training reaches; assumed, not measured
LAUNCH = 10e-6  # seconds that an operation takes at least; assumed
COPYING = 0.8  # of its memory's peak rate
CONTEXT = 1_500_000_000  # bytes of a GPU that the driver, NCCL and kernels take; assumed
NETWORK = 50e9  # bytes per second and GPU between machines: 400 Gb/s; assumed
PER_MACHINE = 8  # GPUs; assumed
HOST_LINK = 25e9  # bytes per second between a GPU and its host's memory: PCIe 4.0 x16, less what it loses; assumed


@dataclass(frozen=True)
class Device:
    """What its maker says of a GPU: dense bf16 products without sparsity, one direction of its links."""

    name: str
    memory: int  # bytes
    flops: float  # bf16 products, per second
    bandwidth: float  # bytes of memory per second
    link: float  # bytes per second to the other GPUs of its machine


# From the makers' data sheets. PCIe 4.0 x16 carries 32 GB/s in one direction; NVLink's sums are halved.
DEVICES = {
    device.name: device
    for device in (
        Device("B200-180GB", 180 * 10**9, 2250e12, 8.0e12, 900e9),
        Device("H200-141GB", 141 * 10**9, 989e12, 4.8e12, 450e9),
        Device("H100-80GB", 80 * 10**9, 989e12, 3.35e12, 450e9),
        Device("A100-80GB", 80 * 10**9, 312e12, 2.04e12, 300e9),
        Device("A100-40GB", 40 * 10**9, 312e12, 1.56e12, 300e9),
        Device("L40S-48GB", 48 * 10**9, 362e12, 0.864e12, 32e9),
        Device("L4-24GB", 24 * 10**9, 121e12, 0.3e12, 32e9),
        Device("RTX4090-24GB", 24 * 10**9, 165e12, 1.008e12, 32e9),
    )
}


def parse_devices(text: str) -> tuple[int, Device]:
    """'8xH100-80GB' -> (8, the device); the number may be left out, and the memory where there is one size.

    Raises:
        ConfigError: a device that the table does not have.
    """
    match = re.fullmatch(r"(?:(\d+)\s*x\s*)?(.+)", text.strip())
    count, name = (int(match[1] or 1), match[2]) if match else (0, text)
    found = [device for key, device in DEVICES.items() if name.lower() in (key.lower(), key.lower().partition("-")[0])]
    if not found or count < 1:
        raise ConfigError(
            f"no device '{text}' is known", where="--devices", remedy=f"use {either(name, tuple(DEVICES))}: 8xH100-80GB"
        )
    return count, found[0]


def link_of(device: Device, ranks: int) -> float:
    """Bytes per second between neighbours of a ring of ``ranks``: the slowest link decides."""
    return device.link if ranks <= PER_MACHINE else min(device.link, NETWORK)
