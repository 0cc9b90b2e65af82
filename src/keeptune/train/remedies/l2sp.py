"""A pull of the weights towards the base's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field
from torch import Tensor
from typing_extensions import override

from keeptune.methods.base import Method, WeightDelta, weight_delta
from keeptune.models.language_model import LanguageModel
from keeptune.recommend.doses import DoseRange
from keeptune.train.objective import Forward, Term
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs


@REMEDIES.register("l2sp")
class L2SpConfig(RemedyConfig):
    """Weights are pulled towards the base's (L2-SP)."""

    dose: ClassVar[str] = "strength"
    updates: ClassVar[float] = 2.0
    searched: ClassVar[DoseRange] = DoseRange(low=1e-5, high=10.0)
    needs: ClassVar[frozenset[Need]] = frozenset({Need.WEIGHT_DELTAS, Need.WHOLE_WEIGHTS})

    strength: float = Field(0.01, gt=0)
    """Nats per trained token and unit of squared length."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> L2Sp:
        return L2Sp(self)


class L2Sp(Remedy):
    """strength / 2 * ||W - W_base||^2 over all weights that train (Li et al. 2018, arXiv 1802.01483).

    For LoRA W - W_base is s B A, whatever A and B are by themselves. The term is added to the mean loss of a step
    once, however many tokens the step has. Weights of low precision are taken as they are, rounded.
    """

    def __init__(self, config: L2SpConfig) -> None:
        self.config = config

    @override
    def describe(self) -> str:
        return f"L2-SP {self.config.strength:g}"

    @override
    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        """The pull."""
        return [L2SpTerm(weight_delta(method), self.config.strength)]


@dataclass(frozen=True)
class L2SpTerm(Term):
    """The pull, as often as the micro-batch has trained tokens."""

    method: WeightDelta
    strength: float

    def __call__(self, forward: Forward) -> Tensor:
        """Float32 scalar."""
        return self.method.squared_length(forward.lm.model) * (self.strength / 2 * forward.batch.weight)
