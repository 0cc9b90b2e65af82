from __future__ import annotations

from typing import Any

import pytest
import torch

from keeptune.core.errors import ConfigError
from keeptune.models import precision
from keeptune.models.precision import cpu_has_bf16, pick_device, pick_dtype

CPU = torch.device("cpu")


def test_stated_precision_is_taken() -> None:
    assert pick_dtype("fp32", CPU) == torch.float32
    assert pick_dtype("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize(("faster", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_a_cpu_takes_the_faster(monkeypatch: pytest.MonkeyPatch, faster: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: faster)
    assert pick_dtype("auto", CPU) == dtype


def test_auto_on_a_gpu_is_bf16() -> None:
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_an_apple_gpu_is_bf16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, dtype: torch.dtype
) -> None:
    def ones(*shape: int, device: torch.device, **rest: Any) -> torch.Tensor:
        assert device.type == "mps"
        if not supported:
            raise TypeError("BFloat16 is not supported on MPS")
        return torch.full(shape, 1.0)

    monkeypatch.setattr(torch, "ones", ones)
    assert pick_dtype("auto", torch.device("mps")) == dtype


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto").type == expected


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_f": True}, True),
        ({"avx512_f": True}, False),
        ({}, False),
    ],
)
def test_the_processor_is_asked_and_no_stopwatch(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert cpu_has_bf16() is expected
    assert not hasattr(precision, "time")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no precision 'fp8' -> use auto, bf16 or fp32"):
        pick_dtype("fp8", CPU)
    with pytest.raises(ConfigError, match="device 'gpu9' cannot be used here"):
        pick_device("gpu9")
    assert pick_device("cpu") == CPU
