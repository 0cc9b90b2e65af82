"""The CPU attention against torch's own, outputs and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from keeptune.models.blocks import BLOCK, KEEP, block_attention


def reference(q, k, v, mask, scale):  # type: ignore[no-untyped-def]
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)


@pytest.mark.parametrize("length", [1, 5, BLOCK, BLOCK + 1, 3 * BLOCK - 7, KEEP + 3])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_scaled_dot_product_attention(length: int, heads: int, key_heads: int, masked: bool) -> None:
    draw = torch.Generator().manual_seed(length)
    q = torch.randn(2, heads, length, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    k = torch.randn(2, key_heads, length, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    v = torch.randn(2, key_heads, length, 8, generator=draw, dtype=torch.float64, requires_grad=True)
    mask = None
    if masked:
        mask = (torch.rand(2, 1, length, length, generator=draw) < 0.5).tril() | torch.eye(length, dtype=torch.bool)
    up = torch.randn(2, heads, length, 8, generator=draw, dtype=torch.float64)
    ours, theirs = block_attention(q, k, v, mask, 0.3), reference(q, k, v, mask, 0.3)
    assert_close(ours, theirs)
    got = torch.autograd.grad(ours, (q, k, v), up)
    expected = torch.autograd.grad(theirs, (q, k, v), up)
    for mine, other in zip(got, expected, strict=True):
        assert_close(mine, other, rtol=1e-5, atol=1e-5)  # keys and values are summed in float32


def test_default_scale_is_one_over_root_of_width() -> None:
    q, k, v = torch.randn(3, 1, 2, 9, 16, generator=torch.Generator().manual_seed(1)).unbind()
    assert_close(block_attention(q, k, v, None), reference(q, k, v, None, None))


def test_bfloat16_stays_near_float32() -> None:
    q, k, v = torch.randn(3, 2, 4, 100, 32, generator=torch.Generator().manual_seed(1)).unbind()
    exact = block_attention(q, k, v, None)
    rounded = block_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), None)
    assert float((rounded.float() - exact).abs().max()) < 0.06
