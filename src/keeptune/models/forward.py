"""From a batch to the logits and log-probabilities of its targets, on the flat path or the padded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from keeptune.batching.padded import unfold
from keeptune.batching.types import Batch
from keeptune.models.attention import flat_attention, plan_trees

if TYPE_CHECKING:
    from keeptune.models.cache import PromptCache
    from keeptune.models.language_model import LanguageModel


def logits(lm: LanguageModel, batch: Batch) -> Tensor:
    """[U, V] next-token logits at ``batch.rows``, in the model's dtype; batch and model are on one device."""
    return flat_logits(lm, batch) if lm.flat else padded_logits(lm, batch)


def target_logprobs(lm: LanguageModel, batch: Batch) -> Tensor:
    """[S] float32 log-probability (nats) of every target of the batch."""
    return gather_logprobs(logits(lm, batch), batch)


def gather_logprobs(logits_UV: Tensor, batch: Batch) -> Tensor:
    """[S] float32 log-probabilities of the batch's targets under ``logits_UV``."""
    logprobs: Tensor = logits_UV.float().log_softmax(-1)[batch.sources, batch.labels]
    return logprobs


def flat_logits(lm: LanguageModel, batch: Batch, cache: PromptCache | None = None) -> Tensor:
    """`logits` by one flat row; the head sees the kept rows only, through the model's own scales and soft caps.

    The keys and values of every layer go to ``cache`` where one is given.
    """
    kept_back = {} if cache is None else {"keeptune_cache": cache}
    with flat_attention(lm.model):
        output = lm.model(
            input_ids=batch.input_ids[None],
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.rows,
            keeptune_trees=plan_trees(batch),
            **kept_back,
        )
    kept: Tensor = output.logits[0]
    return kept


def padded_logits(lm: LanguageModel, batch: Batch) -> Tensor:
    """`logits` by one padded row per sequence with the model's own attention: slower, and the reference."""
    padded = unfold(batch)
    output = lm.model(input_ids=padded.input_ids, attention_mask=padded.attention_mask, use_cache=False)
    kept: Tensor = output.logits[padded.kept[:, 0], padded.kept[:, 1]]
    return kept
