"""Elastic weight consolidation: a pull towards the base's weights, stiff where the base's skills depend on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded
from keeptune.data.storage.lazy import evenly
from keeptune.methods.base import Method, WeightDelta, total, weight_delta
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import target_nll
from keeptune.recommend.doses import DoseRange
from keeptune.train.objective import Forward, Term
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs
from keeptune.train.step import batches_for

MEASURED = frozenset({Need.WEIGHT_DELTAS, Need.PLAIN_WEIGHTS, Need.WHOLE_WEIGHTS})  # what Fisher information is of


@REMEDIES.register("ewc")
class EwcConfig(RemedyConfig):
    """Weights are pulled towards the base's, stiffly where its skills depend on them (EWC)."""

    dose: ClassVar[str] = "strength"
    updates: ClassVar[float] = 3.0
    searched: ClassVar[DoseRange] = DoseRange(low=0.1, high=10_000.0)
    needs: ClassVar[frozenset[Need]] = MEASURED | {Need.SUITES, Need.REHEARSAL_ROWS, Need.SELF_GENERATED_ROWS}

    strength: float = Field(1.0, gt=0)
    """Nats per trained token and unit of the quadratic form."""
    examples: int = Field(200, ge=1)
    """Examples that are measured at most: one forward and backward pass each, before training."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Ewc:
        return Ewc(self, inputs.old_rows(self.needs))


class Ewc(Remedy):
    """strength / 2 * sum over weights of F (W - W_base)^2 (Kirkpatrick et al. 2017, arXiv 1612.00796).

    F is the diagonal of the *empirical* Fisher information at the base: the mean over examples of the squared gradient
    of an example's log-likelihood, summed over its completion tokens, with the completions that the data give (not
    ones drawn from the model). Up to that substitution, strength 1 adds what the base's skills are expected to lose,
    in nats per example of ``pools`` and to second order. Every pool gives equally many examples, evenly from its
    beginning to its end, as far as it has them. For LoRA F belongs to the frozen W, whose change is s B A.

    Keeps F in float32, which is the size of all weights that train (for LoRA: that are added to).
    """

    def __init__(self, config: EwcConfig, pools: Mapping[str, Sequence[Encoded]]) -> None:
        if not any(pools.values()):
            raise DataError("EWC has no rows to find the base's skills in", remedy="add a retained suite with rows")
        self.config = config
        self.rows: list[Encoded] = []
        left = config.examples
        for waiting, (_, rows) in enumerate(sorted(pools.items(), key=lambda pool: len(pool[1]))):
            count = min(len(rows), left // (len(pools) - waiting))  # what a small pool lacks the larger ones give
            self.rows += evenly(rows, count)
            left -= count

    @override
    def describe(self) -> str:
        return f"{self.config.name.replace('ewc', 'EWC')} {self.config.strength:g}"

    @override
    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        """The pull; measures the Fisher information first."""
        delta = weight_delta(method)
        return [EwcTerm(delta, fisher(lm, delta, self.rows), self.config.strength)]


@dataclass(frozen=True)
class EwcTerm(Term):
    """The pull, as often as the micro-batch has trained tokens."""

    method: WeightDelta
    fisher: Mapping[str, Tensor]
    strength: float

    def __call__(self, forward: Forward) -> Tensor:
        """Float32 scalar."""
        deltas = self.method.deltas(forward.lm.model)
        form = total((self.fisher[name] * delta.square()).sum() for name, delta in deltas)
        return form * (self.strength / 2 * forward.batch.weight)


def fisher(lm: LanguageModel, method: WeightDelta, rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """Diagonal empirical Fisher information of ``method.weights``, by name: float32, mean over ``rows``.

    For a model that is adapted and still equals the base. Examples run one at a time: the square of a sum of
    gradients is not a sum of squares.
    """
    weights = method.weights(lm.model)
    information = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    training = lm.model.training
    lm.model.eval()
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        for row in rows:
            (batch,) = batches_for(lm, [row], len(row))
            loss = target_nll(lm, batch.to(lm.device))
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for name, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    information[name].add_(gradient.float().square(), alpha=1 / len(rows))
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        lm.model.train(training)
    return information
