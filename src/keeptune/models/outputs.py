"""Logits, log-probabilities and loss of a batch's targets, as the model's engine makes them."""

from __future__ import annotations

from torch import Tensor

from keeptune.batching.types import Batch
from keeptune.models.language_model import LanguageModel


def logits(lm: LanguageModel, batch: Batch) -> Tensor:
    """[U, V] next-token logits at ``batch.rows``, in the model's dtype; batch and model are on one device."""
    return lm.engine.logits(lm, batch)


def target_logprobs(lm: LanguageModel, batch: Batch) -> Tensor:
    """[S] float32 log-probability (nats) of every target of the batch."""
    return lm.engine.logprobs(lm, batch)


def target_nll(lm: LanguageModel, batch: Batch, scale: float = 1.0) -> Tensor:
    """Weighted negative log-likelihood of the batch's targets, times ``scale``: float32 scalar, differentiable."""
    return lm.engine.nll(lm, batch, scale)
