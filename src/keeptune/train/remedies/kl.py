"""A pull of the predictions towards the base's. U kept rows, S targets, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from keeptune.batching.types import Batch
from keeptune.methods.base import Method
from keeptune.models import head
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.outputs import logits
from keeptune.recommend.doses import DoseRange
from keeptune.train.objective import Forward, Term
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs


@REMEDIES.register("kl")
class KlConfig(RemedyConfig):
    """Predictions are held near the base's by KL(base || tuned)."""

    dose: ClassVar[str] = "weight"
    searched: ClassVar[DoseRange] = DoseRange(low=0.01, high=30.0)
    base_forwards: ClassVar[float] = 1.0
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SAME_INPUT})

    weight: float = Field(1.0, gt=0)
    """Nats of likelihood that a nat of divergence is worth."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Kl:
        return Kl(self)


class Kl(Remedy):
    """weight * KL(base || tuned), in nats per supervised position, the base's prediction known exactly.

    Forward KL, since that is what forgetting was found to follow: KL(base || tuned) on the new task's prompts explains
    96 % of the variance of forgetting in arXiv 2509.04259 (reverse KL 93 %, weight norms 34 to 58 %), and it is what
    `drift` reports. It is dear where the tuned model no longer predicts what the base did, which is what is meant by
    forgetting; the reverse is dear where it predicts something new, which is what it is trained to do.

    An anchor that moves with the model is no other remedy: a share s of the current prediction in the base's (the idea
    of arXiv 2605.04468) has at every step the gradient of 1 - s times this divergence.

    Every supervised position of every example counts once, as it does in the likelihood: where examples share a
    prefix, or a whole row, the divergence there counts as often as examples go through it. It costs a forward pass of
    the base without gradients, in evaluation mode, and for full fine-tuning the base once more where it was copied
    from a GPU.
    """

    def __init__(self, config: KlConfig) -> None:
        self.config = config

    @override
    def describe(self) -> str:
        return f"KL to base {self.config.weight:g}"

    @override
    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        """The divergence."""
        with method.base(lm.model):  # made now, where there is something to make
            return [KlTerm(method, self.config.weight)]


@dataclass(frozen=True)
class KlTerm(Term):
    """Sum over the supervised positions of a micro-batch."""

    method: Method
    weight: float

    def __call__(self, forward: Forward) -> Tensor:
        """Float32 scalar, in nats."""
        batch = forward.batch
        base_UV = base_logits(forward.lm, self.method, batch)
        positions_U = torch.zeros(len(batch.rows), device=base_UV.device)  # that were merged into every kept row
        positions_U.index_add_(0, batch.sources, batch.weights)
        return self.weight * forward_kl(base_UV, forward.logits_UV, positions_U)


def base_logits(lm: LanguageModel, method: Method, batch: Batch) -> Tensor:
    """[U, V] logits of the base in the model's dtype, for a model that is adapted."""
    with method.base(lm.model) as model:
        base = replace(lm, model=model)
        with evaluating(base):
            return logits(base, batch)


def forward_kl(base_UV: Tensor, tuned_UV: Tensor, weights_U: Tensor) -> Tensor:
    """Weighted sum over the rows of KL(base || tuned), both given as logits: float32 scalar, in nats.

    Differentiable in ``tuned_UV``. All that is made in float32 is made for a chunk at a time, and again for backward.
    """
    size = max(1, head.CHUNK // base_UV.shape[-1])
    pieces = zip(*(torch.split(each, size) for each in (base_UV, tuned_UV, weights_U)), strict=True)
    sums = [checkpoint(_forward_kl, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    return torch.stack(sums).sum()


def _forward_kl(base_UV: Tensor, tuned_UV: Tensor, weights_U: Tensor) -> Tensor:
    base, tuned = base_UV.float().log_softmax(-1), tuned_UV.float().log_softmax(-1)
    return ((base.exp() * (base - tuned)).sum(-1) * weights_U).sum()
