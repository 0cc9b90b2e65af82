"""Attention over tries against a dense matrix of scores in which everything but ancestors is masked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from keeptune.batching.arrange import arrange
from keeptune.batching.trie import build, flat_batch, row_paths
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded
from keeptune.models.attention import sdpa_attention
from keeptune.models.blocks import BLOCK, KEEP, block_attention

Rows = Callable[..., list[Encoded]]
WAYS = [pytest.param(block_attention, id="blocks"), pytest.param(sdpa_attention, id="sdpa")]
EDGES = [1, 5, BLOCK, BLOCK + 1, BLOCK + BLOCK // 2 - 1, BLOCK + BLOCK // 2, 3 * BLOCK - 7, KEEP, KEEP + 3]


def dense(
    q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, scale: float, window: int | None, softcap: float | None
) -> Tensor:
    """Attention of q [T, H, D] over k and v [C + T, K, D] with ``allowed`` [T, T] among the batch's own tokens."""
    prefix, repeats = len(k) - len(q), q.shape[1] // k.shape[1]
    allowed = torch.cat([torch.ones(len(q), prefix, dtype=torch.bool), allowed], dim=1)
    depth = allowed.sum(1) - 1
    if window is not None:
        allowed = allowed & (depth[:, None] - torch.cat([torch.arange(prefix), depth]) < window)
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~allowed, -math.inf).softmax(-1), v)


def tensors(tokens: int, prefix: int, heads: int, key_heads: int, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value and the gradient of the output."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(tokens, heads), (prefix + tokens, key_heads), (prefix + tokens, key_heads), (tokens, heads)]
    made = [torch.randn(*shape, 8, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]
    return [x.requires_grad_(number < 3) for number, x in enumerate(made)]


def check(
    attend: Callable[..., Tensor],
    batch: TrieBatch,
    allowed: Tensor,
    *,
    prefix: int = 0,
    heads: tuple[int, int] = (4, 2),
    window: int | None = None,
    softcap: float | None = None,
    seed: int = 0,
) -> None:
    q, k, v, up = tensors(len(allowed), prefix, *heads, seed, torch.float64)
    ours = attend(q, k, v, arrange(batch, prefix), scale=0.7, window=window, softcap=softcap)
    theirs = dense(q, k, v, allowed, 0.7, window, softcap)
    assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # a soft cap makes torch's own softmax work in float32
    got = torch.autograd.grad(ours, (q, k, v), up)
    wanted = torch.autograd.grad(theirs, (q, k, v), up)
    for mine, other in zip(got, wanted, strict=True):
        assert_close(mine, other, rtol=1e-5, atol=1e-5)  # sums over blocks and paths are formed in float32


@pytest.mark.parametrize("attend", WAYS)
@pytest.mark.parametrize("length", EDGES)
@pytest.mark.parametrize("window", [None, 40])
def test_one_row(attend: Callable[..., Tensor], length: int, window: int | None) -> None:
    batch = flat_batch([Encoded("x", (5,) * length, (6,))])
    check(attend, batch, torch.ones(length, length, dtype=torch.bool).tril(), window=window, seed=length)


@pytest.mark.parametrize("attend", WAYS)
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize("softcap", [None, 0.9])
def test_grouped_heads_and_soft_caps(
    attend: Callable[..., Tensor],
    branching_rows: Rows,
    ancestors: Any,
    heads: tuple[int, int],
    softcap: float | None,
) -> None:
    batch = build(row_paths(branching_rows(12, seed=3, longest=150)))
    check(attend, batch, ancestors(batch), heads=heads, softcap=softcap)
    check(attend, batch, ancestors(batch), heads=heads, softcap=softcap, window=9, prefix=5)


@pytest.mark.parametrize("attend", WAYS)
@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 25),
    longest=st.sampled_from([6, 40, 200, 400]),
    share=st.booleans(),
    prefix=st.sampled_from([0, 3, 70]),
    window=st.sampled_from([None, 1, 7, 90]),
    softcap=st.sampled_from([None, None, 1.5]),
)
def test_random_tries(
    attend: Callable[..., Tensor],
    branching_rows: Rows,
    ancestors: Any,
    seed: int,
    rows: int,
    longest: int,
    share: bool,
    prefix: int,
    window: int | None,
    softcap: float | None,
) -> None:
    few = rows if longest < 200 else 1 + rows // 4
    batch = build(row_paths(branching_rows(few, seed=seed, longest=longest)), share=share)
    check(attend, batch, ancestors(batch), prefix=prefix, window=window, softcap=softcap, seed=seed)


@pytest.mark.parametrize("attend", WAYS)
def test_runs_and_paths_longer_than_what_is_kept(
    attend: Callable[..., Tensor], ancestors: Any, branching_rows: Rows
) -> None:
    trunk = tuple(range(10, KEEP + 40))
    rows = [
        Encoded("x", (*trunk[:cut], *row.prompt_ids), row.completion_ids)
        for cut in (300, KEEP + 30)
        for row in branching_rows(5, seed=cut, longest=30)
    ]
    rows += [Encoded("long", (*trunk[:KEEP], *(7,) * (4 * BLOCK)), (9,)), Encoded("short", (8,), (9, 8))]
    batch = build(row_paths(rows))
    check(attend, batch, ancestors(batch))
    check(attend, batch, ancestors(batch), window=KEEP + 1, prefix=3)


def test_only_what_needs_a_gradient_gets_one(branching_rows: Rows) -> None:
    batch = build(row_paths(branching_rows(6, seed=2, longest=60)))
    q, k, v, up = tensors(len(batch.input_ids), 0, 2, 1, 0, torch.float32)
    full = torch.autograd.grad(block_attention(q, k, v, arrange(batch), scale=1.0), (q, k, v), up)
    only = torch.autograd.grad(block_attention(q.detach(), k.detach(), v, arrange(batch), scale=1.0), v, up)
    assert_close(only[0], full[2])
    with torch.no_grad():
        assert not block_attention(q, k, v, arrange(batch), scale=1.0).requires_grad


@pytest.mark.parametrize("attend", WAYS)
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_bfloat16_stays_near_float32(
    attend: Callable[..., Tensor], branching_rows: Rows, softcap: float | None
) -> None:
    batch = build(row_paths(branching_rows(12, seed=4, longest=200)))
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        q, k, v, up = tensors(len(batch.input_ids), 0, 4, 2, 0, dtype)
        out = attend(q, k, v, arrange(batch), scale=0.35, softcap=softcap)
        assert out.dtype == dtype
        results[dtype] = [out.detach(), *torch.autograd.grad(out, (q, k, v), up)]
    for exact, rounded in zip(*results.values(), strict=True):
        assert float((rounded.float() - exact).norm() / exact.norm()) < 0.01
