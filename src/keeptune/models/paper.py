"""Models without data, on the meta device, stand for models on another one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_device: ContextVar[str] = ContextVar("device", default="cpu")


@contextmanager
def standing_for(device: str) -> Iterator[None]:
    """Within, tensors without data are run as on a device of this type: "cpu" or "cuda"."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def device_type(tensor: Tensor) -> str:
    """The type of the device that a tensor is on, or stands for where it has no data."""
    return _device.get() if tensor.is_meta else tensor.device.type
