"""The batch layouts. T tokens, N segments, U kept rows, S targets; B sequences, L positions; P prompts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from typing_extensions import override


class _Movable:
    def to(self, device: torch.device | str) -> Self:
        """The same batch with all its tensors on ``device``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in values.items()}
        return type(self)(**moved)


@dataclass(frozen=True)
class Batch(_Movable):
    """What is predicted in a batch, however its sequences are laid out; the layout is its engine's affair.

    A target is one token to predict. Several targets may be predicted from one state (the first tokens of the choices
    after a prompt), so the states whose logits are needed are listed once.
    """

    rows: Tensor  # [U] int64, increasing: states whose next-token logits are needed, as the layout counts them
    offsets: Tensor  # [U + 1] int64 on the CPU: row u predicts the targets offsets[u] to offsets[u + 1]
    sources: Tensor  # [S] int64, never decreasing, index into ``rows``: the state that predicts the target
    labels: Tensor  # [S] int64, the token to predict
    weights: Tensor  # [S] float32, weight of the target's loss
    examples: Tensor  # [S] int64, index of the example or request that the target belongs to
    tokens: int  # real tokens of the sequences in this batch: what separate sequences would have to compute
    weight: float  # sum of ``weights``

    @property
    def computed(self) -> int:
        """Tokens that the model computes for this batch."""
        raise NotImplementedError

    def to(self, device: torch.device | str) -> Self:
        """The same batch on ``device``; ``offsets`` stay on the CPU, where work is planned."""
        moved = super().to(device)
        object.__setattr__(moved, "offsets", self.offsets)
        return moved


@dataclass(frozen=True)
class TrieBatch(Batch):
    """Sequences laid out as a token trie: prefixes that several of them share are written once.

    A segment is a run of tokens with a parent; a root segment starts a tree. Segments come in depth-first order,
    so the tokens of one tree are contiguous, every ancestor stands before its descendants, and all descendants of a
    segment follow it without a gap. A token attends to itself, to earlier tokens of its segment and to its segment's
    ancestors; its position is its depth from the root. ``rows`` are tokens.
    """

    input_ids: Tensor  # [T] int64
    positions: Tensor  # [T] int64, depth from the root
    segments: Tensor  # [N, 3] int64 on the CPU: start, length, parent (-1 for a root)

    @property
    @override
    def computed(self) -> int:
        return len(self.input_ids)

    @override
    def to(self, device: torch.device | str) -> Self:
        """The same batch on ``device``; ``segments``, too, stay on the CPU."""
        moved = super().to(device)
        object.__setattr__(moved, "segments", self.segments)
        return moved


@dataclass(frozen=True)
class PairBatch(Batch):
    """Prompts for an encoder and answers for a decoder, both padded on the right.

    ``rows`` are places in ``decoder_input_ids``, laid end to end.
    """

    input_ids: Tensor  # [P, E] int64, the prompts
    attention_mask: Tensor  # [P, E] int64, 1 on real tokens
    decoder_input_ids: Tensor  # [B, D] int64: what the decoder starts from, and every answer but for its last token
    prompts: Tensor  # [B] int64: the prompt of every answer

    @property
    @override
    def computed(self) -> int:
        return self.input_ids.numel() + self.decoder_input_ids.numel()


@dataclass(frozen=True)
class PaddedBatch(_Movable):
    """One row per sequence, padded on the right: the layout that every model understands."""

    input_ids: Tensor  # [B, L] int64
    attention_mask: Tensor  # [B, L] int64, 1 on real tokens
    kept: Tensor  # [U, 2] int64: row and column of every ``TrieBatch.rows`` entry
