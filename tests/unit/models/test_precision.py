from __future__ import annotations

import pytest
import torch

from keeptune.core.errors import ConfigError
from keeptune.models import precision
from keeptune.models.precision import bf16_is_faster, pick_device, pick_dtype

CPU = torch.device("cpu")


def test_stated_precision_is_taken() -> None:
    assert pick_dtype("fp32", CPU) == torch.float32
    assert pick_dtype("bf16", CPU) == torch.bfloat16


@pytest.mark.parametrize(("faster", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_a_cpu_takes_the_faster(monkeypatch: pytest.MonkeyPatch, faster: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: faster)
    assert pick_dtype("auto", CPU) == dtype


def test_auto_on_a_gpu_is_bf16() -> None:
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16


def test_the_probe_compares_times(monkeypatch: pytest.MonkeyPatch) -> None:
    for slow, expected in ((torch.float32, True), (torch.bfloat16, False)):
        clock = [0.0]

        def mm(a: torch.Tensor, b: torch.Tensor, slow: torch.dtype = slow, clock: list[float] = clock) -> None:
            clock[0] += 3.0 if a.dtype == slow else 1.0

        monkeypatch.setattr(torch, "mm", mm)
        monkeypatch.setattr(precision.time, "perf_counter", lambda clock=clock: clock[0])
        bf16_is_faster.cache_clear()
        assert bf16_is_faster() is expected
    bf16_is_faster.cache_clear()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no precision 'fp8' -> use auto, bf16 or fp32"):
        pick_dtype("fp8", CPU)
    with pytest.raises(ConfigError, match="device 'gpu9' cannot be used here"):
        pick_device("gpu9")
    assert pick_device("cpu") == CPU
