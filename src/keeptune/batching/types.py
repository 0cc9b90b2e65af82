"""The two batch layouts. T tokens, N segments, U kept rows, S targets; B sequences, L positions."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


class _Movable:
    def to(self, device: torch.device | str) -> Self:
        """The same batch with all its tensors on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in values.items()}
        return type(self)(**moved)


@dataclass(frozen=True)
class Batch(_Movable):
    """Sequences laid out as a token trie: prefixes that several of them share are written once.

    A segment is a run of tokens with a parent; a root segment starts a tree. Segments come in depth-first order,
    so the tokens of one tree are contiguous, every ancestor stands before its descendants, and all descendants of a
    segment follow it without a gap. A token attends to itself, to earlier tokens of its segment and to its segment's
    ancestors; its position is its depth from the root. A target is one token to predict; several targets may be
    predicted from one state (the first tokens of the choices after a prompt), so the rows where logits are needed are
    listed once.
    """

    input_ids: Tensor  # [T] int64
    positions: Tensor  # [T] int64, depth from the root
    segments: Tensor  # [N, 3] int64 on the CPU: start, length, parent (-1 for a root)
    rows: Tensor  # [U] int64, increasing: tokens whose next-token logits are needed
    offsets: Tensor  # [U + 1] int64 on the CPU: row u predicts the targets offsets[u] to offsets[u + 1]
    sources: Tensor  # [S] int64, never decreasing, index into ``rows``: the state that predicts the target
    labels: Tensor  # [S] int64, the token to predict
    weights: Tensor  # [S] float32, weight of the target's loss
    examples: Tensor  # [S] int64, index of the example or request that the target belongs to
    tokens: int  # real tokens of the sequences in this batch: what separate sequences would have to compute
    weight: float  # sum of ``weights``

    def to(self, device: torch.device | str) -> Self:
        """The same batch on ``device``; ``segments`` and ``offsets`` stay on the CPU, where work is planned."""
        moved = super().to(device)
        object.__setattr__(moved, "segments", self.segments)
        object.__setattr__(moved, "offsets", self.offsets)
        return moved


@dataclass(frozen=True)
class PaddedBatch(_Movable):
    """One row per sequence, padded on the right: the layout that every model understands."""

    input_ids: Tensor  # [B, L] int64
    attention_mask: Tensor  # [B, L] int64, 1 on real tokens
    kept: Tensor  # [U, 2] int64: row and column of every ``Batch.rows`` entry
