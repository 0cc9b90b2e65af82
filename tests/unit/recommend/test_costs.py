"""What an arm costs: the sweep, the base's forward passes, demonstrations that a server caches; where costs cross."""

from __future__ import annotations

import math

import pytest

from keeptune.core.records import Costs
from keeptune.recommend.costs import (
    FOR_TRAINING,
    CostFlip,
    break_even_requests,
    cheaper_between,
    cost_flip,
    request_cost,
    training_cost,
    with_break_even,
)

TUNED = Costs(
    tokens_per_request=40, train_tokens=1000, sweep_tokens=4000, total_parameters=100, trainable_parameters=100
)
PROMPTING = Costs(tokens_per_request=240, shared_tokens=200, cached_token_price=0.1)


def test_the_sweep_and_the_forward_pass_of_the_base_count() -> None:
    assert training_cost(TUNED, FOR_TRAINING) == 3 * 1000
    assert training_cost(TUNED) == 3 * 4000
    assert training_cost(TUNED.model_copy(update={"base_forwards": 1.0})) == 4 * 4000
    assert training_cost(TUNED.model_copy(update={"trainable_parameters": 1})) == pytest.approx(2.01 * 4000)


def test_demonstrations_are_a_shared_prefix_at_the_stated_price() -> None:
    assert request_cost(PROMPTING, FOR_TRAINING) == 240
    assert request_cost(PROMPTING) == pytest.approx(40 + 0.1 * 200)
    assert request_cost(PROMPTING.model_copy(update={"cached_token_price": 1.0})) == 240


def test_break_even_is_a_range() -> None:
    found = with_break_even(TUNED, PROMPTING)
    assert found.break_even_requests == 15  # 3 * 1000 / 200
    assert found.break_even_most == 600  # 3 * 4000 / 20
    free = with_break_even(TUNED, PROMPTING.model_copy(update={"cached_token_price": 0.0}))
    assert (free.break_even_requests, free.break_even_most) == (15, None)
    assert break_even_requests(TUNED, Costs(tokens_per_request=40)) is None


def test_costs_cross_at_most_once() -> None:
    prompting, tuned = Costs(tokens_per_request=240), Costs(tokens_per_request=40, train_tokens=1000)  # 2,000 to train
    assert cheaper_between(tuned, prompting) == (10.0, math.inf)
    assert cheaper_between(prompting, tuned) == (0.0, 10.0)
    assert cheaper_between(Costs(tokens_per_request=40), tuned) == (0.0, math.inf)
    assert cheaper_between(tuned, Costs(tokens_per_request=40)) == (0.0, 0.0)
    assert cheaper_between(tuned, tuned) == (0.0, 0.0)


def test_where_one_becomes_cheaper_is_said_for_both_ways_to_count() -> None:
    why = " (one training or the whole sweep, demonstrations cached or not)"
    assert cost_flip(PROMPTING, TUNED).words() == f"the cheaper one below 15 to 600 requests{why}"
    assert cost_flip(TUNED, PROMPTING).words() == f"the cheaper one above 15 to 600 requests{why}"
    assert CostFlip(0.0, 12.0).words() == "the cheaper one below 12 requests"
    assert CostFlip(0.0, math.inf).words() == "the cheaper one at any number of requests"
    assert CostFlip(0.0, 0.0).words() == "never the cheaper one"
