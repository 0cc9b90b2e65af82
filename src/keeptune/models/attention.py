"""Attention over a flat batch, plugged into transformers' public AttentionInterface.

Everything outside attention works on one row of T tokens without padding. Inside attention the trees of the batch are
gathered into groups of similar length, [n, L] with padding, and one scaled-dot-product call serves each group: causal
where all segments are roots, with a boolean ancestor mask elsewhere.

Shapes: T tokens, n trees in a group, L positions, H heads, K key/value heads, D width of a head.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from keeptune.batching.types import Batch
from keeptune.core.errors import ModelError
from keeptune.models.blocks import block_attention

NAME = "keeptune"
Ints = NDArray[np.int64]


@dataclass(eq=False)
class Group:
    """Trees of similar length, padded on the right to L."""

    index: Tensor | None  # [n * L] int64 into the flat row; None: the group is the whole row, in order
    depth: Tensor  # [n, L] int64, position of every token
    end: Tensor | None  # [n, L] int64, where the subtree of the token's segment ends; None: all segments are roots
    masks: dict[int | None, Tensor | None] = field(default_factory=dict)  # per sliding window, made on first use

    def mask(self, window: int | None) -> Tensor | None:
        """[n, 1, L, L] bool, true where a query (third axis) sees a key; None where plain causal attention is exact."""
        if window is not None and window >= self.depth.shape[1]:
            window = None
        if window not in self.masks:
            self.masks[window] = self._mask(window)
        return self.masks[window]

    def _mask(self, window: int | None) -> Tensor | None:
        if self.end is None and window is None:
            return None
        length = self.depth.shape[1]
        at = torch.arange(length, device=self.depth.device)
        seen = (at[:, None] >= at[None, :]).expand(len(self.depth), length, length)
        if self.end is not None:
            seen = seen & (at[None, :, None] < self.end[:, None, :])
        if window is not None:
            seen = seen & (self.depth[:, :, None] - self.depth[:, None, :] < window)
        return seen[:, None]


@dataclass(eq=False)
class Trees:
    """How the tokens of a flat batch are arranged for attention; made once per batch, used by every layer."""

    groups: list[Group]
    scatter: Tensor | None  # [T] int64 into the groups' outputs laid end to end; None: already in order


def plan_trees(batch: Batch) -> Trees:
    """Arrange a batch's trees into groups in which no tree is shorter than half of the longest."""
    segments = batch.segments.numpy()
    starts, roots = segments[:, 0], np.flatnonzero(segments[:, 2] < 0)
    total = len(batch.input_ids)
    first = starts[roots]
    length = np.diff(np.append(first, total))
    end = _subtree_ends(segments) if len(roots) < len(segments) else None
    order = np.argsort(-length, kind="stable")
    positions = _depths(segments)
    groups, scatter, offset = [], np.empty(total, dtype=np.int64), 0
    for _, members in itertools.groupby(order, key=_halving(length[order])):
        trees = np.fromiter(members, dtype=np.int64)
        longest = int(length[trees].max())
        grid = first[trees, None] + np.minimum(
            np.arange(longest), length[trees, None] - 1
        )  # pads repeat the last token
        real = np.arange(longest) < length[trees, None]
        scatter[grid[real]] = offset + np.flatnonzero(real)
        offset += grid.size
        in_order = grid.size == total and bool((grid.reshape(-1) == np.arange(total)).all())
        groups.append(
            Group(
                index=None if in_order else _on(grid.reshape(-1), batch),
                depth=_on(positions[grid], batch),
                end=None if end is None else _on(_local_ends(end, grid, real, first[trees]), batch),
            )
        )
    in_order = offset == total and bool((scatter == np.arange(total)).all())
    return Trees(groups, None if in_order else _on(scatter, batch))


def _halving(lengths: Ints) -> Any:
    """A key for `groupby` over trees, longest first: a new group starts below half of the group's longest tree."""
    state = {"longest": int(lengths[0]) if len(lengths) else 0}
    ordered = iter(lengths)

    def key(_: int) -> int:
        length = int(next(ordered))
        if 2 * length < state["longest"]:
            state["longest"] = length
        return state["longest"]

    return key


def _depths(segments: Ints) -> Ints:
    """[T]: positions again, from the segments, which are on the CPU: reading the batch's would wait for a GPU."""
    depth = np.zeros(len(segments), dtype=np.int64)
    for number in np.flatnonzero(segments[:, 2] >= 0):
        parent = segments[number, 2]
        depth[number] = depth[parent] + segments[parent, 1]
    return np.arange(segments[:, 1].sum()) - np.repeat(segments[:, 0] - depth, segments[:, 1])


def _subtree_ends(segments: Ints) -> Ints:
    """[T]: flat index where the subtree of every token's segment ends. Key j is seen by query i iff j <= i < end[j]."""
    ends = segments[:, 0] + segments[:, 1]
    for number in range(len(segments) - 1, -1, -1):
        parent = segments[number, 2]
        if parent >= 0:
            ends[parent] = max(ends[parent], ends[number])
    return np.repeat(ends, segments[:, 1])


def _local_ends(end: Ints, grid: Ints, real: NDArray[np.bool_], first: Ints) -> Ints:
    """Subtree ends counted from the start of each tree; a pad sees itself and what its last real token sees."""
    ends: Ints = end[grid] - first[:, None]
    return np.where(real, ends, np.arange(grid.shape[1]) + 1)


def _on(array: Ints, batch: Batch) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(batch.input_ids.device)


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    keeptune_trees: Trees | None = None,
    keeptune_cache: Any = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function for flat batches: query [1, H, T, D], key and value [1, K, T, D].

    Returns ([1, T, H, D], None). ``attention_mask`` is always None (see `_no_mask`).

    Raises:
        ModelError: the model did not hand the tree plan through, or asks for a bias that this function lacks.
    """
    if keeptune_trees is None:
        raise ModelError("the model does not pass its keyword arguments on to attention")
    for name in ("position_bias", "s_aux"):
        if unused.get(name) is not None:
            raise ModelError(f"attention with {name} does not run flat")
    _windows_given.add(sliding_window)
    if keeptune_cache is not None:
        keeptune_cache.store(getattr(module, "layer_idx", None), key[0], value[0])
    query, key, value = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)  # [T, heads, D]
    outputs = []
    for group in keeptune_trees.groups:
        q, k, v = (_gather(x, group) for x in (query, key, value))
        mask = group.mask(sliding_window)
        if q.device.type == "cpu" and softcap is None and not dropout:
            out = block_attention(q, k, v, mask, scaling)
        else:
            repeats = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
            if softcap is None:
                out = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling
                )
            else:
                out = _softcapped(q, k, v, mask, dropout, scaling, softcap)
        outputs.append(out.transpose(1, 2).flatten(0, 1))  # [n * L, H, D]
    out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    if keeptune_trees.scatter is not None:
        out = out.index_select(0, keeptune_trees.scatter)
    return out[None], None


def _gather(x: Tensor, group: Group) -> Tensor:
    """[T, heads, D] -> [n, heads, L, D]."""
    picked = x if group.index is None else x.index_select(0, group.index)
    return picked.reshape(*group.depth.shape, *x.shape[1:]).transpose(1, 2)


def _softcapped(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, scaling: float | None, cap: float
) -> Tensor:
    """Explicit attention with scores squashed to (-cap, cap) before the softmax (Gemma 2)."""
    scores = q @ k.transpose(2, 3) * (scaling if scaling is not None else 1 / math.sqrt(q.shape[-1]))
    scores = torch.tanh(scores / cap) * cap
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, dropout) @ v


_windows_masked: set[int | None] = set()  # local windows that the model wanted masked
_windows_given: set[int | None] = set()  # and those that reached its attention function


def _no_mask(*args: Any, local_size: int | None = None, **kwargs: Any) -> None:
    """transformers' mask function for flat batches: attention makes its own masks from the tree plan."""
    _windows_masked.add(local_size)


@contextmanager
def check_windows() -> Iterator[None]:
    """Raises ModelError at the end if a local window that the model masks did not reach its attention function."""
    _windows_masked.clear()
    _windows_given.clear()
    yield
    lost = _windows_masked - _windows_given - {None}
    if lost:
        raise ModelError(f"the model keeps its local attention window ({lost}) in the mask alone")


@contextmanager
def flat_attention(model: nn.Module, name: str = NAME) -> Iterator[None]:
    """Within, ``model`` attends with `tree_attention`, or what is registered as ``name``; afterwards as before."""
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
    before = {key: config._attn_implementation for key, config in configs.items()}
    for config in configs.values():
        config._attn_implementation = name
    try:
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, _no_mask)
