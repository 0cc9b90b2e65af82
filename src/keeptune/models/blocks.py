"""Attention for CPUs: explicit matrix products over blocks of queries, with a backward of its own.

torch's fused attention is slow on CPUs in backward, most of all in bfloat16 (torch 2.13, AVX-512, 16 rows of 256
tokens, 8 heads of 32: 202 ms against 20 ms here). A block of queries meets only the keys up to its own end, so half of
the square is never computed, and grouped query heads share one product with their key head.

Shapes: n trees, H query heads, K key heads, G = H / K heads per group, L positions, D head width, Q queries in a block,
E keys up to the block's end.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

BLOCK = 64  # queries per block
KEEP = 512  # up to this length the probabilities are kept for backward, beyond they are computed again


def block_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None = None) -> Tensor:
    """Attention of q [n, H, L, D] over k, v [n, K, L, D]; returns [n, H, L, D].

    ``mask`` [n, 1, L, L] bool is true where a query sees a key, never above the diagonal; None is plain causal
    attention. Scores are rounded to the inputs' dtype before the softmax, as in transformers' eager attention.
    """
    out: Tensor = _Blocks.apply(q, k, v, mask, scale or 1 / math.sqrt(q.shape[-1]))  # type: ignore[no-untyped-call]
    return out


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        n, heads, length, width = q.shape
        ctx.shape, ctx.scale, ctx.mask = (n, k.shape[1], heads // k.shape[1], length, width), scale, mask
        q, k, v = _grouped(q * scale, ctx.shape), k.flatten(0, 1).contiguous(), v.flatten(0, 1).contiguous()
        out, kept = torch.empty_like(q), []
        for start, end in _blocks(length):
            p = _probabilities(q[:, :, start:end], k[:, :end], mask, start, ctx.shape)
            out[:, :, start:end] = torch.bmm(p, v[:, :end]).view(out[:, :, start:end].shape)
            kept.append(p)
        ctx.save_for_backward(q, k, v, *(kept if length <= KEEP else []))
        return out.view(n, heads, length, width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        n, key_heads, group, length, width = ctx.shape
        grad = _grouped(grad, ctx.shape)
        dq = torch.empty_like(q)
        dk, dv = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        for number, (start, end) in enumerate(_blocks(length)):
            q_block = q[:, :, start:end]
            p = kept[number] if kept else _probabilities(q_block, k[:, :end], ctx.mask, start, ctx.shape)
            g = grad[:, :, start:end].reshape(n * key_heads, -1, width)
            dv[:, :end] += torch.bmm(p.transpose(1, 2), g)
            dp = torch.bmm(g, v[:, :end].transpose(1, 2))
            ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
            dq[:, :, start:end] = torch.bmm(ds, k[:, :end]).view(q_block.shape)
            dk[:, :end] += torch.bmm(ds.transpose(1, 2), q_block.reshape(n * key_heads, -1, width))
        whole = (n, key_heads, length, width)
        dq = dq.mul_(ctx.scale).view(n, key_heads * group, length, width)
        return dq, dk.to(k.dtype).view(whole), dv.to(v.dtype).view(whole), None, None


def _grouped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[n, H, L, D] -> [n * K, G, L, D], contiguous."""
    n, key_heads, group, length, width = shape
    return x.reshape(n * key_heads, group, length, width).contiguous()


def _blocks(length: int) -> list[tuple[int, int]]:
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _probabilities(q: Tensor, k: Tensor, mask: Tensor | None, start: int, shape: tuple[int, ...]) -> Tensor:
    """Softmax over keys of scaled queries: [n * K, G, Q, D], [n * K, E, D] -> [n * K, G * Q, E]."""
    n, key_heads, group, _, width = shape
    queries, keys = q.shape[2], k.shape[1]
    scores = torch.bmm(q.reshape(n * key_heads, -1, width), k.transpose(1, 2))
    if mask is None:
        hidden = torch.ones(queries, queries, dtype=torch.bool, device=q.device).triu(1)
        scores.view(-1, group, queries, keys)[..., start:].masked_fill_(hidden, -math.inf)
    else:
        hidden = ~mask[:, :, None, start : start + queries, :keys]
        scores.view(n, key_heads, group, queries, keys).masked_fill_(hidden, -math.inf)
    return torch.softmax(scores, -1)
