"""What is minimised: the negative log-likelihood of the targets, plus any terms that a remedy adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from keeptune.batching.types import Batch
from keeptune.models.forward import gather_logprobs, logits, target_nll
from keeptune.models.language_model import LanguageModel


@dataclass(frozen=True)
class Forward:
    """One forward pass: all that a term may look at."""

    lm: LanguageModel
    batch: Batch
    logits_UV: Tensor


class Term(Protocol):
    """An addition to the loss (a KL to the base, a pull towards its weights).

    Returns a scalar *sum over the targets* of this micro-batch, in nats: the step divides by the weight of the whole
    global batch. A term that belongs to the step and not to tokens multiplies itself by ``forward.batch.weight``.
    """

    def __call__(self, forward: Forward) -> Tensor:
        """The term's sum over this micro-batch."""
        ...


@dataclass(frozen=True)
class Objective:
    """Negative log-likelihood of the targets plus ``terms``, summed over a micro-batch."""

    terms: Sequence[Term] = ()

    def __call__(self, lm: LanguageModel, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """(what to differentiate, the likelihood part alone): float32 sums in nats, times ``scale``.

        Only terms need the logits; without any they are made and used up chunk by chunk.
        """
        if not self.terms:
            loss = target_nll(lm, batch, scale)
            return loss, loss.detach()
        forward = Forward(lm, batch, logits(lm, batch))
        nll = -(gather_logprobs(forward.logits_UV, batch) * batch.weights).sum() * scale
        return sum((term(forward) * scale for term in self.terms), start=nll), nll.detach()
