"""What is minimised: the negative log-likelihood of the targets, plus any terms that a remedy adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from keeptune.batching.types import Batch
from keeptune.launch.world import ALONE, World
from keeptune.models.forward import gather_logprobs
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import logits, target_nll


class Forward:
    """One forward pass: all that a term may look at. It is made when something of it is first asked for."""

    def __init__(self, lm: LanguageModel, batch: Batch) -> None:
        self.lm, self.batch = lm, batch

    @cached_property
    def logits_UV(self) -> Tensor:
        """[U, V] next-token logits at ``batch.rows``, in the model's dtype."""
        return logits(self.lm, self.batch)

    @cached_property
    def logprobs_S(self) -> Tensor:
        """[S] float32 log-probabilities of the targets (nats)."""
        return gather_logprobs(self.logits_UV, self.batch)

    @property
    def made(self) -> bool:
        """Whether the logits exist."""
        return "logits_UV" in self.__dict__


class Term:
    """An addition to the loss (a KL to the base, a pull towards its weights).

    Calling it gives a scalar *sum over the targets* of a micro-batch, in nats: the step divides by the weight of the
    whole global batch. A term that belongs to the step and not to tokens multiplies itself by
    ``forward.batch.weight``, and does not ask for logits: without them the likelihood takes less memory.
    """

    def begin(self, lm: LanguageModel, batches: Sequence[Batch], world: World) -> None:
        """Told all micro-batches of a step (on the CPU) before the first of them is run.

        These are this process's share; what a term needs of the whole step it has to sum over ``world``.
        """

    def __call__(self, forward: Forward) -> Tensor:
        """The term's sum over this micro-batch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Objective:
    """Negative log-likelihood of the targets plus ``terms``, summed over a micro-batch."""

    terms: Sequence[Term] = ()

    def begin(self, lm: LanguageModel, batches: Sequence[Batch], world: World = ALONE) -> None:
        """Call before the micro-batches of a step; a lone micro-batch may do without."""
        for term in self.terms:
            term.begin(lm, batches, world)

    def __call__(self, lm: LanguageModel, batch: Batch, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """(what to differentiate, the likelihood part alone): float32 sums in nats, times ``scale``.

        Unless a term asks for the logits they are made and used up chunk by chunk.
        """
        forward = Forward(lm, batch)
        added = [term(forward) * scale for term in self.terms]
        nll = -(forward.logprobs_S * batch.weights).sum() * scale if forward.made else target_nll(lm, batch, scale)
        return sum(added, start=nll), nll.detach()
