"""The next token of many rows at once: attention of one query per row over cached keys and values.

The rows' newest tokens are laid flat, one row of B tokens with their own positions, so everything outside attention
is one matrix product for all of them. In attention the shared prefix meets all queries in one product per head, and
only the rest of every row is a product of its own; one softmax goes over both.

Shapes: B rows, H heads, K key/value heads, G = H / K, D width of a head, L tokens that a slot holds, P tokens of the
shared prefix, S of these that are in sight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from keeptune.core.errors import ModelError
from keeptune.models.attention import flat_attention
from keeptune.models.cache import KeyValue, Slots
from keeptune.models.loaded import LoadedModel

NAME = "keeptune_decode"
Ints = NDArray[np.int64]


@dataclass(eq=False)
class Step:
    """One step of the first B slots; made once, used by every layer."""

    slots: Slots
    shared: int  # P
    positions: Tensor  # [B] int64, of the tokens that are fed
    lowest: int  # the smallest position
    rows: Tensor  # [B] int64: 0, 1, ...
    own: Tensor  # [B] int64, where in its slot a row's token goes
    masks: dict[int | None, tuple[int, Tensor]] = field(default_factory=dict)  # per sliding window

    def mask(self, window: int | None) -> tuple[int, Tensor]:
        """The first token of the prefix that any row sees, and [B, 1, 1, S + L] bool, true where a key is hidden."""
        if window not in self.masks:
            first = 0 if window is None else min(self.shared, max(0, self.lowest - window + 1))
            at = torch.arange(first, self.shared + self.slots.length, device=self.positions.device)
            hidden = at > self.positions[:, None]
            if window is not None:
                hidden |= at <= self.positions[:, None] - window
            self.masks[window] = first, hidden[:, None, None]
        return self.masks[window]

    def append(self, layer: int, key: Tensor, value: Tensor) -> KeyValue:
        """Write [K, B, D] behind the rows; returns [B, K, L, D] of all that they hold."""
        stored = self.slots.own[layer]
        for cache, new in zip(stored, (key, value), strict=True):
            cache[self.rows, :, self.own] = new.transpose(0, 1)
        return KeyValue(*(cache[: len(self.rows)] for cache in stored))


def plan_step(slots: Slots, shared: int, positions: Ints) -> Step:
    """The step in which the rows of the first slots are fed one token each, at ``positions`` [B]."""
    device = next(iter(slots.own.values())).key.device
    there = torch.from_numpy(positions).to(device)
    rows = torch.arange(len(positions), device=device)
    return Step(slots, shared, there, int(positions.min()), rows, there - shared)


def decode_logits(lm: LoadedModel, tokens: Ints, step: Step) -> Tensor:
    """[B, V] next-token logits after ``tokens`` [B], in the model's dtype. Call it within `decoding`."""
    output = lm.model(
        input_ids=torch.from_numpy(tokens).to(lm.device)[None],
        position_ids=step.positions[None],
        use_cache=False,
        keeptune_step=step,
    )
    logits: Tensor = output.logits[0]
    return logits


def decoding(lm: LoadedModel) -> Any:
    """A context within which the model attends with `decode_attention`."""
    return flat_attention(lm.model, NAME)


def decode_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    keeptune_step: Step | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function for one token per row: query [1, H, B, D], key and value [1, K, B, D].

    Returns ([1, B, H, D], None). Biases and sinks need no check: models that have them do not run flat.

    Raises:
        ModelError: the model did not hand the step through.
    """
    if keeptune_step is None:
        raise ModelError("the model does not pass its keyword arguments on to attention")
    layer: int = module.layer_idx  # type: ignore[assignment]
    keys, values = keeptune_step.append(layer, key[0], value[0])
    first, hidden = keeptune_step.mask(sliding_window)
    shared = _from(keeptune_step.slots.shared.get(layer), first)
    query = query[0].transpose(0, 1) * (scaling if scaling is not None else 1 / math.sqrt(query.shape[-1]))
    weights = _weights(query, keys, None if shared is None else shared.key, hidden, softcap)
    return _mix(weights, values, None if shared is None else shared.value)[None], None


def _from(shared: KeyValue | None, first: int) -> KeyValue | None:
    """The prefix from token ``first`` on; None where nothing is left."""
    if shared is None or first == shared.key.shape[1]:
        return None
    return KeyValue(shared.key[:, first:], shared.value[:, first:])


def _weights(q: Tensor, keys: Tensor, shared: Tensor | None, hidden: Tensor, softcap: float | None) -> Tensor:
    """Softmax of scaled queries [B, H, D] over [K, S, D] and [B, K, L, D]: [B, K, G, S + L]."""
    rows, key_heads, length, width = keys.shape
    scores = torch.bmm(q.reshape(rows * key_heads, -1, width), keys.flatten(0, 1).transpose(1, 2))
    scores = scores.view(rows, key_heads, -1, length)
    if shared is not None:
        by_head = q.reshape(rows, key_heads, -1, width).transpose(0, 1).reshape(key_heads, -1, width)  # [K, B * G, D]
        before = torch.bmm(by_head, shared.transpose(1, 2)).view(key_heads, rows, -1, shared.shape[1])
        scores = torch.cat([before.transpose(0, 1), scores], dim=-1)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    return scores.masked_fill_(hidden, -math.inf).softmax(-1)


def _mix(weights: Tensor, values: Tensor, shared: Tensor | None) -> Tensor:
    """Values [K, S, D] and [B, K, L, D] by [B, K, G, S + L]: [B, H, D]."""
    rows, key_heads, length, width = values.shape
    own = weights[..., -length:].reshape(rows * key_heads, -1, length)
    out = torch.bmm(own, values.flatten(0, 1)).view(rows, key_heads, -1, width)
    if shared is not None:
        before = weights[..., :-length].transpose(0, 1).reshape(key_heads, -1, shared.shape[1])
        out += torch.bmm(before, shared).view(key_heads, rows, -1, width).transpose(0, 1)
    return out.flatten(1, 2)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """transformers' mask function for this attention, which makes its own masks."""


AttentionInterface.register(NAME, decode_attention)
AttentionMaskInterface.register(NAME, _no_mask)
