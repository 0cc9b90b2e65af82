"""The padded form of a flat batch: the reference, and the path for models that cannot run flat."""

from __future__ import annotations

import torch
from torch import Tensor

from keeptune.batching.types import PaddedBatch, TrieBatch


def unfold(batch: TrieBatch, pad_id: int = 0) -> PaddedBatch:
    """One padded row per leaf of the batch's trees, with shared prefixes written out again.

    The logits at ``kept`` are those at ``TrieBatch.rows``, in the same order; a row that several leaves share is read
    from the first of them.
    """
    paths = _leaf_paths(batch.segments.tolist())
    longest = max(len(path) for path in paths)
    input_ids = torch.full((len(paths), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(paths), longest), dtype=torch.int64)
    home = torch.full((len(batch.input_ids), 2), -1, dtype=torch.int64)
    ids = batch.input_ids.cpu()
    for number, path in reversed(list(enumerate(paths))):  # the first leaf writes last and so owns shared tokens
        input_ids[number, : len(path)] = ids[path]
        attention_mask[number, : len(path)] = 1
        home[path, 0] = number
        home[path, 1] = torch.arange(len(path))
    padded = PaddedBatch(input_ids, attention_mask, home[batch.rows.cpu()])
    return padded.to(batch.input_ids.device)


def _leaf_paths(segments: list[list[int]]) -> list[Tensor]:
    """Token indices from the root to the end of every leaf segment, leaves in order."""
    prefixes: list[Tensor] = []
    for start, length, parent in segments:
        own = torch.arange(start, start + length)
        prefixes.append(own if parent < 0 else torch.cat([prefixes[parent], own]))
    parents = {parent for _, _, parent in segments}
    return [path for number, path in enumerate(prefixes) if number not in parents]
