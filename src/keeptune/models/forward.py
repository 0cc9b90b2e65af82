"""From a batch to logits and log-probabilities of its targets: what engines are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from keeptune.batching.arrange import arrange
from keeptune.batching.padded import unfold
from keeptune.batching.types import Batch, TrieBatch
from keeptune.models.attention import flat_attention
from keeptune.models.cache import PromptCache
from keeptune.models.head import Head, chunks
from keeptune.models.last_layer import last_layer_at
from keeptune.models.loaded import LoadedModel


def gather_logprobs(logits_UV: Tensor, batch: Batch) -> Tensor:
    """[S] float32 log-probabilities of the batch's targets under ``logits_UV``, differentiable.

    All that is made in float32 is made for a chunk at a time, and for backward once more.
    """
    parts = chunks(batch, logits_UV.shape[-1])
    if len(parts) == 1:
        return _gather(logits_UV, batch.sources, batch.labels)
    found = []
    for (rows, targets), logits in zip(parts, torch.split(logits_UV, parts[0][0].stop), strict=True):
        places = batch.sources[targets] - rows.start, batch.labels[targets]
        found.append(checkpoint(_gather, logits, *places, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(found)


def _gather(logits_UV: Tensor, sources: Tensor, labels: Tensor) -> Tensor:
    logprobs: Tensor = logits_UV.float().log_softmax(-1)[sources, labels]
    return logprobs


def hidden_states(
    lm: LoadedModel, head: Head, batch: TrieBatch, cache: PromptCache | None = None, prefix: int = 0, cut: bool = False
) -> Tensor:
    """[U, D] what the head sees at ``batch.rows``; ``cut``: by the last layer at these rows (see `last_layer_at`)."""
    with flat_attention(lm.model), last_layer_at(lm.model, batch.rows if cut else None) as kept_alone:
        output = head.decoder(**_inputs(batch, cache, prefix))
    states: Tensor = output.last_hidden_state[0]
    return states if kept_alone else states.index_select(0, batch.rows)


def flat_logits(
    lm: LoadedModel, batch: TrieBatch, cache: PromptCache | None = None, prefix: int = 0, cut: bool = False
) -> Tensor:
    """`logits` by one flat row; the head sees the kept rows only, through the model's own scales and soft caps.

    ``cut``: so does the last layer (see `last_layer_at`).
    """
    with flat_attention(lm.model), last_layer_at(lm.model, batch.rows if cut else None) as kept_alone:
        keep = 0 if kept_alone else batch.rows  # 0: all that is left
        output = lm.model(logits_to_keep=keep, **_inputs(batch, cache, prefix))
    kept: Tensor = output.logits[0]
    return kept


def _inputs(batch: TrieBatch, cache: PromptCache | None, prefix: int) -> dict[str, Any]:
    inputs = {
        "input_ids": batch.input_ids[None],
        "position_ids": batch.positions[None] + prefix,
        "use_cache": False,
        "keeptune_arrangement": arrange(batch, prefix),
    }
    return inputs if cache is None else {**inputs, "keeptune_cache": cache}


def padded_logits(lm: LoadedModel, batch: TrieBatch) -> Tensor:
    """`logits` by one padded row per sequence with the model's own attention: slower, and the reference."""
    padded = unfold(batch)
    output = lm.model(input_ids=padded.input_ids, attention_mask=padded.attention_mask, use_cache=False)
    kept: Tensor = output.logits[padded.kept[:, 0], padded.kept[:, 1]]
    return kept
