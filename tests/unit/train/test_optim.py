from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from keeptune.launch.world import World
from keeptune.train.optim import MasterAdamW, _clip


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


class Twins(World):
    """A world whose processes all have the same."""

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.mul_(self.size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_all_processes_are_summed_where_they_are(dtype: torch.dtype) -> None:
    ours, nobodys = parameter(dtype), parameter(dtype, (2,))
    optimizer = MasterAdamW([ours, nobodys])
    ours.grad = torch.full_like(ours, 3.0)
    optimizer.accumulate()
    before = optimizer.masters[0].grad
    optimizer.sum_over(Twins(size=2))
    assert optimizer.masters[0].grad is before and torch.equal(before, torch.full((3, 4), 6.0))
    assert optimizer.masters[1].grad is None


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_and_several_micro_batches_take_the_same_step(dtype: torch.dtype) -> None:
    """Quarters that bf16 holds exactly: what differs is only whether gradients are copied or added."""
    whole, parts = parameter(dtype), parameter(dtype)
    once, twice = MasterAdamW([whole]), MasterAdamW([parts])
    for seed in range(3):  # buffers are used again from the second step on
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)
        whole.grad = gradient.clone()
        once.accumulate()
        for share in (0.25, 0.5, 0.25):
            part = gradient * share
            parts.grad = part if parts.grad is None else parts.grad + part  # as autograd does
            twice.accumulate()
        norms = once.step(1e-2, clip=1.0), twice.step(1e-2, clip=1.0)
        assert_close(*norms)
        assert_close(whole, parts)
        assert_close(once.masters[0], twice.masters[0])


@pytest.mark.parametrize("clip", [0.5, 1e6])
def test_clipping_equals_torchs(clip: float) -> None:
    ours = [torch.randn(5, 3), torch.randn(7)]
    theirs = [nn.Parameter(torch.zeros_like(gradient)) for gradient in ours]
    for p, gradient in zip(theirs, ours, strict=True):
        p.grad = gradient.clone()
    expected = nn.utils.clip_grad_norm_(theirs, clip)
    assert_close(_clip(ours, clip), expected)
    for p, gradient in zip(theirs, ours, strict=True):
        assert_close(gradient, p.grad)


def test_a_norm_that_is_not_finite_is_not_hidden() -> None:
    gradients = [torch.tensor([1.0, float("nan")])]
    assert torch.isnan(_clip(gradients, 1.0))
    assert gradients[0][0] == 1.0  # what was wrong can still be seen


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    parameters = [nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))]
    optimizer = MasterAdamW(parameters, names=["matrix", "vector"])
    parameters[0].grad, parameters[1].grad = torch.ones(2, 2), torch.tensor([1.0, math.inf])
    assert not torch.isfinite(optimizer.step(0.1, 1.0))
    assert all((parameter == 1).all() for parameter in parameters)
    assert optimizer.untouched() == [0, 1]
    assert parameters[1].grad is not None
    optimizer.drop()
    assert all(parameter.grad is None for parameter in parameters)


def test_a_parameter_without_a_gradient_stands_still() -> None:
    used, unused = parameter(torch.bfloat16), parameter(torch.bfloat16)
    optimizer = MasterAdamW([used, unused])
    for step in range(2):
        used.grad = torch.ones_like(used)
        unused.grad = torch.ones_like(unused) if step == 0 else None
        optimizer.accumulate()
        before = optimizer.masters[1].detach().clone()
        norm = optimizer.step(0.1, clip=1e6)
        assert float(norm) == pytest.approx((24 if step == 0 else 12) ** 0.5)
    assert torch.equal(optimizer.masters[1], before)


def test_factors_are_learning_rates_of_their_own() -> None:
    torch.manual_seed(0)
    start = [torch.randn(3, 4), torch.randn(4), torch.randn(2, 2)]
    gradients = [torch.randn_like(each) for each in start]

    def moved(indices: list[int], lr: float, **settings: Any) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(start[i].clone()) for i in indices]
        optimizer = MasterAdamW(parameters, weight_decay=0.1, **settings)
        for parameter, i in zip(parameters, indices, strict=True):
            parameter.grad = gradients[i].clone()
        optimizer.accumulate()
        optimizer.step(lr, clip=1e9)
        return [parameter.detach() for parameter in parameters]

    slow, fast = moved([0, 1], 1e-3), moved([2], 1.6e-2)
    both = moved([0, 1, 2], 1e-3, factors=[1.0, 1.0, 16.0])
    assert all(torch.equal(a, b) for a, b in zip(both, [*slow, *fast], strict=True))
