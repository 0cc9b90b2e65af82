"""Token-adaptive loss reweighting: tokens that the model finds unlikely count less."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from keeptune.batching.types import Batch
from keeptune.launch.world import World
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel, evaluating
from keeptune.models.outputs import target_logprobs
from keeptune.train.objective import Forward, Term
from keeptune.train.remedies.base import NO_INPUTS, REMEDIES, Need, Remedy, RemedyConfig, RemedyInputs


@REMEDIES.register("talr")
class TalrConfig(RemedyConfig):
    """Tokens that the model finds unlikely count less (TALR)."""

    dose: ClassVar[str] = "floor"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.WHOLE_WEIGHTS})  # it looks at a step before its forward pass

    floor: float = Field(0.01, ge=0, le=1)
    """Smallest weight of a token's loss."""

    @override
    def build(self, inputs: RemedyInputs = NO_INPUTS) -> Talr:
        return Talr(self)


class Talr(Remedy):
    """Weight of a token's loss = max(p^(1 / tau), floor) (TALR, arXiv 2509.20758).

    p is the current model's probability of the token, a constant to the gradient, and tau the mean loss of the global
    batch in nats per trained token, so a token of average loss weighs 1/e. The sum is still divided by the number of
    trained tokens, not by the sum of weights.

    Of the ways to gate tokens this is the one that asks for nothing: no forward pass of the base (FLOW, arXiv
    2502.02797; STM and EAFT gate by a model's own probability or entropy, too) and no threshold to be set by hand (STM,
    arXiv 2501.14315; EAFT, arXiv 2601.02151), since tau follows the data. In its paper it dominates L2, LoRA, model
    averaging and FLOW. STM, which masks tokens outright, would mask nearly all of a target that the base does not
    know; here they keep the weight ``floor`` and gain more as they are learned.

    Where a global batch takes several micro-batches, tau costs one more forward pass of each, so that results do not
    depend on how rows are grouped.
    """

    def __init__(self, config: TalrConfig) -> None:
        self.config = config

    @override
    def describe(self) -> str:
        return "TALR"

    @override
    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        """What turns the plain likelihood into the weighted one."""
        return [TalrTerm(self.config.floor)]


class TalrTerm(Term):
    """Weighted minus plain negative log-likelihood."""

    def __init__(self, floor: float) -> None:
        self.floor = floor
        self._tau: Tensor | None = None  # None: the one micro-batch at hand is all

    @override
    def begin(self, lm: LanguageModel, batches: Sequence[Batch], world: World) -> None:
        """Find the mean loss of the step where it takes several micro-batches."""
        self._tau = None
        if len(batches) > 1 or world.size > 1:
            with evaluating(lm):
                losses = [_nll(target_logprobs(lm, moved), moved) for moved in (b.to(lm.device) for b in batches)]
            loss = torch.stack(losses).sum() if losses else torch.zeros((), device=lm.device)
            weight = torch.tensor(sum(batch.weight for batch in batches), dtype=torch.float64)
            self._tau = world.sum(loss) / world.sum(weight).item()

    def __call__(self, forward: Forward) -> Tensor:
        """Float32 scalar, in nats."""
        batch, logprobs_S = forward.batch, forward.logprobs_S
        tau = _nll(logprobs_S.detach(), batch) / batch.weight if self._tau is None else self._tau
        gate_S = token_weights(logprobs_S.detach(), tau, self.floor)
        return _nll(logprobs_S * (gate_S - 1), batch)


def token_weights(logprobs: Tensor, tau: Tensor, floor: float) -> Tensor:
    """max(p^(1 / tau), floor) for log-probabilities in nats; all 1 where nothing is left to lose."""
    return (logprobs / tau.clamp(min=1e-8)).exp().clamp(min=floor)


def _nll(logprobs_S: Tensor, batch: Batch) -> Tensor:
    return -(logprobs_S * batch.weights).sum()
