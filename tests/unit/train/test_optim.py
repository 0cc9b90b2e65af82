from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from keeptune.train.optim import MasterAdamW


def parameter(dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (3, 4)) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype))


def test_float32_equals_torch_adamw_with_clipping() -> None:
    ours, theirs = parameter(), parameter()
    optimizer = MasterAdamW([ours], weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    for seed in range(5):
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) * 10
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.accumulate()
        norm = optimizer.step(1e-2, clip=1.0)
        assert float(norm) == pytest.approx(float(gradient.norm()), rel=1e-5)
        nn.utils.clip_grad_norm_([theirs], 1.0)
        reference.step()
        assert_close(ours, theirs)
        assert ours.grad is None


def test_bf16_gradients_are_summed_in_float32() -> None:
    p = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    optimizer = MasterAdamW([p])
    for part in (256.0, 1.0, 1.0):  # in bf16, 256 + 1 is 256
        p.grad = torch.full((2, 2), part, dtype=torch.bfloat16)
        optimizer.accumulate()
        assert p.grad is None
    assert optimizer.masters[0].grad is not None
    assert optimizer.masters[0].grad.tolist() == [[258.0, 258.0], [258.0, 258.0]]


def test_updates_too_small_for_bf16_add_up() -> None:
    p = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    optimizer = MasterAdamW([p])
    for _ in range(80):  # each alone is far below half a bf16 step at 1.0
        p.grad = torch.ones(2, 2, dtype=torch.bfloat16)
        optimizer.accumulate()
        optimizer.step(1e-4, clip=1e9)
    assert p.detach().float()[0, 0].item() == pytest.approx(1 - 80e-4, abs=2e-3)
    assert optimizer.masters[0].detach()[0, 0].item() == pytest.approx(1 - 80e-4, rel=1e-4)


def test_weight_decay_spares_vectors() -> None:
    matrix, vector = parameter(), parameter(shape=(4,))
    optimizer = MasterAdamW([matrix, vector], weight_decay=1.0)
    before = matrix.detach().clone(), vector.detach().clone()
    matrix.grad, vector.grad = torch.zeros_like(matrix), torch.zeros_like(vector)
    optimizer.accumulate()
    optimizer.step(0.1, clip=1.0)
    assert_close(matrix.detach(), before[0] * 0.9)
    assert_close(vector.detach(), before[1])
