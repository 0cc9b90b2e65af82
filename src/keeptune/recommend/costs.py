"""What an arm costs over its lifetime, in forward-token equivalents, and where one arm becomes the cheaper one.

Two things are a matter of how one counts, and both are counted as the product is used. Demonstrations stand in front of
every request, so a server that caches prefixes charges less for them (`costs.cached_token_price` of a recipe). The rate
of a trained arm was found by a sweep, whose trainings were paid for as well. Break-even is printed as a range: from one
training against demonstrations paid in full, which favours training most, to the sweep against cached ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from keeptune.core.records import ArmSummary, Costs
from keeptune.core.units import human_count


@dataclass(frozen=True)
class Counting:
    """What counts as a cost: as the rule counts it, or in favour of training."""

    sweep: bool = True  # all trainings that the choice of the rate took
    cached: bool = True  # demonstrations at the price of cached tokens


USUAL = Counting()
FOR_TRAINING = Counting(sweep=False, cached=False)


def training_cost(costs: Costs, counting: Counting = USUAL) -> float:
    """Forward-token equivalents of training.

    A forward pass costs 1 per token and the gradient of the activations 1 more; the gradient of the weights costs
    the share that trains (6N, 4N + small: SCIENCE section 6). A remedy that asks the base, too, costs its forward pass.
    """
    share = costs.trainable_parameters / costs.total_parameters if costs.total_parameters else 0.0
    tokens = costs.sweep_tokens if counting.sweep and costs.sweep_tokens is not None else costs.train_tokens
    return (tokens or 0) * (2.0 + share + costs.base_forwards)


def request_cost(costs: Costs, counting: Counting = USUAL) -> float:
    """Forward-token equivalents of one request's prompt."""
    saved = (costs.shared_tokens or 0.0) * (1 - costs.cached_token_price) if counting.cached else 0.0
    return (costs.tokens_per_request or 0.0) - saved


def lifetime_cost(arm: ArmSummary, requests: int) -> float:
    """Forward-token equivalents of training the arm and serving `requests` requests."""
    return training_cost(arm.costs) + requests * request_cost(arm.costs)


def break_even_requests(tuned: Costs, prompting: Costs, counting: Counting = USUAL) -> int | None:
    """Requests after which training has cost less than prompting; None where no number pays the training back."""
    saved = request_cost(prompting, counting) - request_cost(tuned, counting)
    return math.ceil(training_cost(tuned, counting) / saved) if saved > 0 else None


def with_break_even(tuned: Costs, prompting: Costs) -> Costs:
    """The costs with the range of their break-even against the best prompting."""
    return tuned.model_copy(
        update={
            "break_even_requests": break_even_requests(tuned, prompting, FOR_TRAINING),
            "break_even_most": break_even_requests(tuned, prompting),
        }
    )


def cheaper_between(costs: Costs, than: Costs, counting: Counting = USUAL) -> tuple[float, float]:
    """(low, high): `costs` come to less than the other's above `low` and below `high` requests; (0, 0): never."""
    dearer_training = training_cost(costs, counting) - training_cost(than, counting)
    saved = request_cost(than, counting) - request_cost(costs, counting)
    if saved > 0:
        return max(dearer_training / saved, 0.0), math.inf
    if dearer_training >= 0:
        return 0.0, 0.0
    return 0.0, math.inf if saved == 0 else dearer_training / saved


@dataclass(frozen=True)
class CostFlip:
    """Where one arm costs less over its lifetime than the choice, in requests: above `low`, below `high`."""

    low: float
    high: float  # inf: however many; not above `low`: nowhere
    taken: bool = False  # the rule would then take it
    otherwise: tuple[float, float] | None = None  # the same, counted in favour of training

    def words(self) -> str:
        """'the cheaper one below 1.2k requests', or 'below 1.2k to 15.0k requests, by how one counts'."""
        if self.high <= self.low:
            return "never the cheaper one"
        if self.low > 0:
            return f"the cheaper one above {self._range(0, math.floor)} requests{self._why(0)}"
        if math.isinf(self.high):
            return "the cheaper one at any number of requests"
        return f"the cheaper one below {self._range(1, math.ceil)} requests{self._why(1)}"

    def _ends(self, side: int) -> list[float]:
        """Both ways to count, smallest first; one where they agree or where the other way there is no such number."""
        mine = (self.low, self.high)[side]
        other = self.otherwise[side] if self.otherwise else mine
        known = other > 0 and not math.isinf(other)
        return sorted({mine, other}) if known else [mine]

    def _range(self, side: int, rounded: Callable[[float], int]) -> str:
        return " to ".join(dict.fromkeys(human_count(rounded(end)) for end in self._ends(side)))

    def _why(self, side: int) -> str:
        return " (one training or the whole sweep, demonstrations cached or not)" if len(self._ends(side)) > 1 else ""


def cost_flip(costs: Costs, than: Costs) -> CostFlip:
    """The numbers of requests at which one arm costs less than the other, by both ways to count."""
    return CostFlip(*cheaper_between(costs, than), otherwise=cheaper_between(costs, than, FOR_TRAINING))
