"""Attention over a trie by explicit matrix products, forward and backward: what a CPU does fastest.

Queries are taken in blocks, and a block multiplies only the keys up to its end: half the work of a square of scores. A
run's ancestors and its own rows stand side by side in one row of scores, so that one softmax covers both.

T rows, C prefix rows; m paths, n runs, L rows of a run, P rows of a path (see `batching.arrange`); K key/value heads, G
queries per key head, D width of a head; Q queries of a block, E keys of the run up to the block's end.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from keeptune.batching.arrange import Arrangement, Group

BLOCK = 64  # queries per block
KEEP = 512  # up to so many keys the probabilities are kept for backward, beyond they are computed again


def block_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    arrangement: Arrangement,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
) -> Tensor:
    """Attention of query [T, K * G, D] over key and value [C + T, K, D]; returns [T, K * G, D].

    Scores are rounded to the inputs' dtype before the softmax, as in transformers' eager attention.
    """
    keep = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    out: Tensor = _Trie.apply(query, key, value, arrangement, scale, window, softcap, keep)  # type: ignore[no-untyped-call]
    return out


class _Trie(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        arrangement: Arrangement,
        scale: float,
        window: int | None,
        softcap: float | None,
        keep: bool,
    ) -> Tensor:
        ctx.settings = (arrangement, scale, window, softcap)
        outputs, kept = [], []
        for group in arrangement.groups:
            tensors = _Tensors(group, arrangement.prefix, query, key, value, scale)
            out, probabilities = _forward(tensors, window, softcap, keep)
            outputs.append(tensors.to_slots(out))
            kept += probabilities
        ctx.save_for_backward(query, key, value, *kept)
        return arrangement.to_rows(outputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        arrangement, scale, window, softcap = ctx.settings
        prefix, probabilities = arrangement.prefix, iter(kept)
        dq, dk, dv = [], [], []
        paths: list[tuple[Tensor, Tensor, Tensor]] = []
        for group in arrangement.groups:
            tensors = _Tensors(group, prefix, query, key, value, scale)
            grads = _backward(tensors, tensors.queries(grad, zero_pads=True), window, softcap, probabilities)
            dq.append(tensors.to_slots(grads[0]))
            dk.append(tensors.to_slots(grads[1].unsqueeze(3)))
            dv.append(tensors.to_slots(grads[2].unsqueeze(3)))
            if group.path is not None:
                paths.append((group.path, tensors.to_path(grads[3]), tensors.to_path(grads[4])))
        dk_own, dv_own = arrangement.to_rows(dk), arrangement.to_rows(dv)
        if paths or prefix:
            dk_own, dv_own = (
                _with_paths(own, key, prefix, [(p[0], p[i]) for p in paths])
                for i, own in enumerate((dk_own, dv_own), 1)
            )
        return arrangement.to_rows(dq), dk_own, dv_own, None, None, None, None, None


def _with_paths(own: Tensor, like: Tensor, prefix: int, paths: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Gradients of the runs' own keys [T, K, D] and those of their paths, added up in float32: [C + T, K, D]."""
    total = torch.zeros((prefix + len(own), *own.shape[1:]), dtype=torch.float32, device=own.device)
    total[prefix:] = own
    for rows, gradient in paths:
        total.index_add_(0, rows, gradient.float())
    return total.to(like.dtype)


class _Tensors:
    """One group's queries, keys and values, gathered and laid out for matrix products."""

    def __init__(self, group: Group, prefix: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> None:
        self.group = group
        self.m, self.n, self.length, self.reach = group.shape
        self.heads = key.shape[1]  # K
        self.g = query.shape[1] // self.heads
        self.scale = scale
        self.q = self.queries(query) * scale  # [m, K, n, G, L, D]
        self.k, self.v = self._own(key, prefix), self._own(value, prefix)  # [m * K * n, L, D]
        self.path_k, self.path_v = self._path(key), self._path(value)  # [m * K, P, D]

    def queries(self, x: Tensor, *, zero_pads: bool = False) -> Tensor:
        """[T, K * G, D] -> [m, K, n, G, L, D]."""
        if self.group.query is not None:
            x = x.index_select(0, self.group.query)
        if zero_pads and self.group.pads is not None:  # then the rows were gathered, and are ours to write to
            x.index_fill_(0, self.group.pads, 0.0)
        x = x.reshape(self.m, self.n, self.length, self.heads, self.g, x.shape[-1])
        return x.permute(0, 3, 1, 4, 2, 5).contiguous()

    def _own(self, x: Tensor, prefix: int) -> Tensor:
        x = x[prefix:]
        if self.group.query is not None:
            x = x.index_select(0, self.group.query)
        x = x.reshape(self.m, self.n, self.length, self.heads, x.shape[-1]).permute(0, 3, 1, 2, 4)
        return x.reshape(-1, self.length, x.shape[-1]).contiguous()

    def _path(self, x: Tensor) -> Tensor | None:
        if self.group.path is None:
            return None
        x = x.index_select(0, self.group.path).view(self.m, self.reach, self.heads, x.shape[-1]).transpose(1, 2)
        return x.reshape(-1, self.reach, x.shape[-1]).contiguous()

    def to_slots(self, x: Tensor) -> Tensor:
        """[m, K, n, G, L, D] -> [m * n * L, K * G, D]."""
        return x.permute(0, 2, 4, 1, 3, 5).reshape(self.m * self.n * self.length, -1, x.shape[-1])

    def to_path(self, x: Tensor) -> Tensor:
        """[m * K, P, D] -> [m * P, K, D]."""
        return x.view(self.m, self.heads, self.reach, -1).transpose(1, 2).reshape(self.m * self.reach, self.heads, -1)

    def blocks(self) -> list[tuple[int, int]]:
        """The first and last row of every block of queries; a short rest goes with the block before it."""
        starts = list(range(0, self.length, BLOCK))
        if len(starts) > 1 and self.length - starts[-1] < BLOCK // 2:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.length], strict=True))

    def block(self, x: Tensor, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Rows of [m, K, n, G, L, D]: for paths [m * K, n * G * Q, D], and for runs [m * K * n, G * Q, D]."""
        x = x[..., start:end, :].contiguous()
        return x.view(self.m * self.heads, -1, x.shape[-1]), x.view(self.m * self.heads * self.n, -1, x.shape[-1])

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores [m * K, n * G * Q, P + E] -> those of the path [.., P], those of the run [m * K * n, G * Q, E]."""
        run = x.view(self.m * self.heads * self.n, -1, x.shape[-1])
        return x[..., : self.reach], run[..., self.reach :]


def _products(t: _Tensors, block: tuple[Tensor, Tensor], path: Tensor | None, own: Tensor, end: int) -> Tensor:
    """[m * K, n * G * Q, P + E]: rows of a block (see `_Tensors.block`) times keys or values."""
    for_path, for_run = block
    result = for_path.new_empty((*for_path.shape[:2], t.reach + end))
    of_path, of_run = t.split(result)
    if path is not None:
        torch.bmm(for_path, path.transpose(1, 2), out=of_path)
    torch.bmm(for_run, own[:, :end].transpose(1, 2), out=of_run)
    return result


def _probabilities(
    t: _Tensors, block: tuple[Tensor, Tensor], start: int, end: int, window: int | None, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Softmax of a block's scores [m * K, n * G * Q, P + E], and tanh(score / cap) where there is a soft cap."""
    scores, squashed = _products(t, block, t.path_k, t.k, end), None
    if softcap is not None:
        squashed = torch.tanh(scores / softcap)
        scores = squashed * softcap
    grid = scores.view(t.m, t.heads, t.n, t.g, end - start, t.reach + end)
    if (own := t.group.own_hidden(window)) is not None:
        grid[..., t.reach :].masked_fill_(own[..., start:end, :end], -math.inf)
    else:
        later = torch.ones(end - start, end - start, dtype=torch.bool, device=scores.device).triu(1)
        grid[..., t.reach + start :].masked_fill_(later, -math.inf)
    if (path := t.group.path_hidden(window)) is not None:
        grid[..., : t.reach].masked_fill_(path if path.shape[4] == 1 else path[..., start:end, :], -math.inf)
    return torch.softmax(scores, -1), squashed


def _kept(t: _Tensors, softcap: float | None) -> bool:
    return softcap is None and t.reach + t.length <= KEEP


def _forward(t: _Tensors, window: int | None, softcap: float | None, keep: bool) -> tuple[Tensor, list[Tensor]]:
    """(outputs [m, K, n, G, L, D], the probabilities of every block where they are kept)."""
    out = t.q.new_empty((*t.q.shape[:-1], t.v.shape[-1]))
    kept = []
    for start, end in t.blocks():
        p, _ = _probabilities(t, t.block(t.q, start, end), start, end, window, softcap)
        out[..., start:end, :] = _combined(t, p, t.path_v, t.v, end).view(out[..., start:end, :].shape)
        if keep and _kept(t, softcap):
            kept.append(p)
    return out, kept


def _combined(t: _Tensors, p: Tensor, path: Tensor | None, own: Tensor, end: int) -> Tensor:
    """Rows of ``p`` [m * K, n * G * Q, P + E] times path and run: [m * K * n, G * Q, D]."""
    of_path, of_run = t.split(p)
    result = torch.bmm(of_run, own[:, :end])
    if path is not None:
        result += torch.bmm(of_path, path).view(result.shape)
    return result


def _backward(
    t: _Tensors, grad: Tensor, window: int | None, softcap: float | None, kept: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of queries [m, K, n, G, L, D], runs' keys and values [m, K, n, L, D], paths' ones [m * K, P, D]."""
    dq = torch.empty_like(t.q)
    blocks = t.blocks()
    several = len(blocks) > 1  # sums over blocks are formed in float32
    dk, dv = (torch.zeros_like(x, dtype=torch.float32 if several else x.dtype) for x in (t.k, t.v))
    empty = t.k.new_empty(0)
    dpk, dpv = (empty if x is None else torch.zeros_like(x, dtype=torch.float32) for x in (t.path_k, t.path_v))
    for start, end in blocks:
        squashed = None
        q_path, q_run = q_block = t.block(t.q, start, end)
        g_path, g_run = g_block = t.block(grad, start, end)
        if _kept(t, softcap):
            p = next(kept)
        else:
            p, squashed = _probabilities(t, q_block, start, end, window, softcap)
        dp = _products(t, g_block, t.path_v, t.v, end)
        ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
        if squashed is not None:
            ds *= 1 - squashed**2
        dq[..., start:end, :] = _combined(t, ds, t.path_k, t.k, end).view(dq[..., start:end, :].shape)
        (p_path, p_run), (ds_path, ds_run) = t.split(p), t.split(ds)
        dk[:, :end] += torch.bmm(ds_run.transpose(1, 2), q_run)
        dv[:, :end] += torch.bmm(p_run.transpose(1, 2), g_run)
        if t.path_k is not None:
            dpk += torch.bmm(ds_path.transpose(1, 2), q_path)
            dpv += torch.bmm(p_path.transpose(1, 2), g_path)
    whole = (t.m, t.heads, t.n, t.length, -1)
    return dq.mul_(t.scale), dk.to(t.k.dtype).view(whole), dv.to(t.v.dtype).view(whole), dpk, dpv
