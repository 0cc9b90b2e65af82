"""A pull of the weights towards the base's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.train.objective import Forward, Term
from keeptune.train.remedies.base import Remedy
from keeptune.train.remedies.config import L2SpConfig


class L2Sp(Remedy):
    """strength / 2 * ||W - W_base||^2 over all weights that train (Li et al. 2018, arXiv 1802.01483).

    For LoRA W - W_base is s B A, whatever A and B are by themselves. The term is added to the mean loss of a step
    once, however many tokens the step has. Weights of low precision are taken as they are, rounded.
    """

    def __init__(self, config: L2SpConfig) -> None:
        self.config = config

    def describe(self) -> str:
        """As people read it."""
        return f"L2-SP {self.config.strength:g}"

    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        """The pull."""
        return [L2SpTerm(method, self.config.strength)]


@dataclass(frozen=True)
class L2SpTerm(Term):
    """The pull, as often as the micro-batch has trained tokens."""

    method: Method
    strength: float

    def __call__(self, forward: Forward) -> Tensor:
        """Float32 scalar."""
        return self.method.squared_length(forward.lm.model) * (self.strength / 2 * forward.batch.weight)
