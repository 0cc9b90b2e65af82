"""Attention over a token trie, plugged into transformers' public AttentionInterface.

Everything outside attention works on one row of T tokens without padding. Inside, the rows are arranged in groups
(see `batching.arrange`); on a CPU explicit products serve them (`blocks`), elsewhere torch's own attention.

T tokens, C tokens of a cached prefix; m paths, n runs, L rows of a run, P of a path; H heads, K key heads, D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from keeptune.batching.arrange import Arrangement, Group
from keeptune.core.errors import ModelError
from keeptune.models.blocks import block_attention
from keeptune.models.cache import PromptCache
from keeptune.models.paper import device_type

NAME = "keeptune"


@dataclass(frozen=True)
class Windows:
    """The local attention windows that were met during a check; None stands for a layer without one."""

    masked: set[int | None] = field(default_factory=set)  # that the model wanted masked
    given: set[int | None] = field(default_factory=set)  # that reached its attention function


_check: ContextVar[Windows | None] = ContextVar("windows", default=None)  # the check that is going on


def trie_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    keeptune_arrangement: Arrangement | None = None,
    keeptune_cache: PromptCache | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function for tries: query [1, H, T, D], key and value [1, K, T, D].

    Returns ([1, T, H, D], None). ``attention_mask`` is always None (see `_no_mask`).

    Raises:
        ModelError: the model did not hand the arrangement through, or asks for a bias that this function lacks.
    """
    if keeptune_arrangement is None:
        raise ModelError("the model does not pass its keyword arguments on to attention")
    for name in ("position_bias", "s_aux"):
        if unused.get(name) is not None:
            raise ModelError(f"attention with {name} does not run flat")
    if (check := _check.get()) is not None:
        check.given.add(sliding_window)
    query, key, value = query[0].to(value.dtype), key[0].to(value.dtype), value[0]
    if keeptune_cache is not None:
        layer: Any = getattr(module, "layer_idx", None)
        keeptune_cache.store(layer, key, value)
        before = keeptune_cache.prefix(layer)
        if before is not None:
            key, value = torch.cat([before.key, key], dim=1), torch.cat([before.value, value], dim=1)
    query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    scale = scaling if scaling is not None else 1 / math.sqrt(query.shape[-1])
    if device_type(query) == "cpu" and not dropout:
        out = block_attention(
            query, key, value, keeptune_arrangement, scale=scale, window=sliding_window, softcap=softcap
        )
    else:
        out = sdpa_attention(
            query,
            key,
            value,
            keeptune_arrangement,
            scale=scale,
            window=sliding_window,
            softcap=softcap,
            dropout=dropout,
        )
    return out[None], None


def sdpa_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    arrangement: Arrangement,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """As `blocks.block_attention`, by torch's scaled-dot-product attention: one call for every group."""
    outputs = []
    for group in arrangement.groups:
        m, n, length, _ = group.shape
        q = _runs(query, group).transpose(1, 2)  # [m * n, H, L, D]
        k, v = (_with_path(x, group, arrangement.prefix).transpose(1, 2) for x in (key, value))  # [m * n, K, P + L, D]
        seen = _seen(group, window)
        if softcap is not None:
            out = _softcapped(q, k, v, seen, dropout, scale, softcap)
        else:
            repeats = q.shape[1] // k.shape[1]
            k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
            if q.is_meta:  # torch would take the kernel that keeps all scores, which no GPU does
                out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout, seen is None, scale=scale)[0]
            else:
                out = F.scaled_dot_product_attention(
                    q, k, v, attn_mask=seen, dropout_p=dropout, is_causal=seen is None, scale=scale
                )
        outputs.append(out.transpose(1, 2).reshape(m * n * length, *out.shape[1::2]))
    return arrangement.to_rows(outputs)


def _runs(x: Tensor, group: Group) -> Tensor:
    """[T, heads, D] -> [m * n, L, heads, D]."""
    m, n, length, _ = group.shape
    picked = x if group.query is None else x.index_select(0, group.query)
    return picked.reshape(m * n, length, *x.shape[1:])


def _with_path(x: Tensor, group: Group, prefix: int) -> Tensor:
    """[C + T, heads, D] -> [m * n, P + L, heads, D]: every run behind its path."""
    own = _runs(x[prefix:], group)
    if group.path is None:
        return own
    m, n, _, reach = group.shape
    path = x.index_select(0, group.path).view(m, 1, reach, *x.shape[1:]).expand(m, n, reach, *x.shape[1:])
    return torch.cat([path.reshape(m * n, reach, *x.shape[1:]), own], dim=1)


def _seen(group: Group, window: int | None) -> Tensor | None:
    """[m * n, 1, L, P + L] bool, true where a query sees a key; None where plain causal attention is right."""
    m, n, length, reach = group.shape
    own, path = group.own_hidden(window), group.path_hidden(window)
    if own is None and not reach:
        return None
    if own is None:
        own = torch.ones(length, length, dtype=torch.bool, device=group.depth.device).triu(1)
    shape = (m, 1, n, 1, length)
    own = own.expand(*shape, length)
    path = torch.zeros((), dtype=torch.bool, device=own.device) if path is None else path
    return ~torch.cat([path.expand(*shape, reach), own], dim=-1).reshape(m * n, 1, length, reach + length)


def _softcapped(
    q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, dropout: float, scale: float, cap: float
) -> Tensor:
    """Explicit attention with scores squashed to (-cap, cap) before the softmax (Gemma 2)."""
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    scores = torch.tanh(q @ k.transpose(2, 3) * scale / cap) * cap
    if seen is None:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    weights = scores.masked_fill(~seen, -math.inf).softmax(-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, dropout) @ v


def _no_mask(*args: Any, local_size: int | None = None, **kwargs: Any) -> None:
    """transformers' mask function for tries: attention makes its own masks from the arrangement."""
    if (check := _check.get()) is not None:
        check.masked.add(local_size)


@contextmanager
def check_windows() -> Iterator[Windows]:
    """Raises ModelError at the end if a local window that the model masks did not reach its attention function."""
    found = Windows()
    token = _check.set(found)
    try:
        yield found
    finally:
        _check.reset(token)
    lost = found.masked - found.given - {None}
    if lost:
        raise ModelError(f"the model keeps its local attention window ({lost}) in the mask alone")


@contextmanager
def flat_attention(model: nn.Module, name: str = NAME) -> Iterator[None]:
    """Within, ``model`` attends with `trie_attention`, or what is registered as ``name``; afterwards as before."""
    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
    before = {key: config._attn_implementation for key, config in configs.items()}
    for config in configs.values():
        config._attn_implementation = name
    try:
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


AttentionInterface.register(NAME, trie_attention)
AttentionMaskInterface.register(NAME, _no_mask)
