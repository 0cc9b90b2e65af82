"""Flat batches: from token ids to the integer arrays of a `Batch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from keeptune.batching.types import Batch
from keeptune.data.examples import Encoded

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Choices:
    """A prompt and the completions to be scored after it, as token ids."""

    prompt_ids: Sequence[int]
    choices: Sequence[Sequence[int]]


def flat_batch(rows: Sequence[Encoded]) -> Batch:
    """Lay ``rows`` end to end, one root segment each; the targets are the completion tokens.

    A row's last token predicts nothing and is left out. Where the prompt is empty the first completion token has
    nothing to be predicted from and is not a target. ``examples`` are indices into ``rows``.

    Raises:
        ValueError: a row without a target.
    """
    builder = _Builder()
    for index, row in enumerate(rows):
        ids = (*row.prompt_ids, *row.completion_ids)
        first = max(len(row.prompt_ids), 1)
        if len(ids) <= first:
            raise ValueError(f"row {row.id} has nothing to predict: {len(ids)} tokens, {len(row.prompt_ids)} of prompt")
        start = builder.segment(ids[:-1], parent=-1, depth=0)
        builder.targets(start + first - 1, ids[first:], index)
        builder.extra += 1
    return builder.batch()


def choice_batch(requests: Sequence[Choices]) -> Batch:
    """Lay each prompt once, with its choices as child segments; every token of every choice is a target.

    The first token of every choice is predicted by the prompt's last token. ``examples`` number the choices of all
    requests one after the other, so that sums per choice come from one `bincount` or `index_add`.

    Raises:
        ValueError: an empty prompt or an empty choice.
    """
    builder = _Builder()
    number = 0
    for request in requests:
        if not request.prompt_ids or not all(request.choices):
            raise ValueError("a prompt and each of its choices need at least one token")
        root = builder.count
        start = builder.segment(request.prompt_ids, parent=-1, depth=0)
        last = start + len(request.prompt_ids) - 1
        for choice in request.choices:
            builder.targets(last, choice[:1], number)
            if len(choice) > 1:
                child = builder.segment(choice[:-1], parent=root, depth=len(request.prompt_ids))
                builder.targets(child, choice[1:], number)
            builder.extra += 1
            number += 1
    return builder.batch()


@dataclass
class _Builder:
    """Collects segments and targets. ``extra`` counts tokens that are only predicted, never fed."""

    ids: list[Ints] = field(default_factory=list)
    positions: list[Ints] = field(default_factory=list)
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)
    labels: list[Ints] = field(default_factory=list)
    examples: list[Ints] = field(default_factory=list)
    length: int = 0
    extra: int = 0

    @property
    def count(self) -> int:
        return len(self.segments)

    def segment(self, ids: Sequence[int], *, parent: int, depth: int) -> int:
        """Append a segment; returns the index of its first token."""
        start = self.length
        self.ids.append(np.asarray(ids, dtype=np.int64))
        self.positions.append(np.arange(depth, depth + len(ids), dtype=np.int64))
        self.segments.append((start, len(ids), parent))
        self.length += len(ids)
        return start

    def targets(self, first_row: int, labels: Sequence[int], example: int) -> None:
        """Rows ``first_row``, ``first_row`` + 1, ... predict ``labels``."""
        self.rows.append(np.arange(first_row, first_row + len(labels), dtype=np.int64))
        self.labels.append(np.asarray(labels, dtype=np.int64))
        self.examples.append(np.full(len(labels), example, dtype=np.int64))

    def batch(self) -> Batch:
        rows, sources = np.unique(_join(self.rows), return_inverse=True)
        labels = torch.from_numpy(_join(self.labels))
        return Batch(
            input_ids=torch.from_numpy(_join(self.ids)),
            positions=torch.from_numpy(_join(self.positions)),
            segments=torch.tensor(self.segments, dtype=torch.int64).reshape(-1, 3),
            rows=torch.from_numpy(rows),
            sources=torch.from_numpy(sources.reshape(-1).astype(np.int64)),
            labels=labels,
            weights=torch.ones(len(labels), dtype=torch.float32),
            examples=torch.from_numpy(_join(self.examples)),
            tokens=self.length + self.extra,
            weight=float(len(labels)),
        )


def _join(parts: Sequence[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
