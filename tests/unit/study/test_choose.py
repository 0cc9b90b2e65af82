"""The choices of a study: ties, Pareto, break-even and the recommendation, on hand-made tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tables import arm, gaps, seen, suite

from keeptune.core.records import ArmSummary, Costs
from keeptune.study.choose import Candidate, break_even_requests, cheaper_between, mark_pareto, pick, recommend


def test_pick_prefers_the_lower_rate_within_one_standard_error() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random(200) < 0.6).astype(float)
    nearly = base.copy()
    nearly[:1] = 1 - nearly[:1]
    worse = np.zeros(200)
    best = Candidate("high", 3e-4, base)
    assert pick([best, Candidate("low", 1e-4, nearly), Candidate("lowest", 3e-5, worse)]).name == "low"
    assert pick([best, Candidate("lowest", 3e-5, worse)]).name == "high"


def test_pick_never_takes_a_diverged_rate_while_another_lives() -> None:
    good, bad = np.ones(10), np.zeros(10)
    assert pick([Candidate("burst", 1e-3, good, diverged=True), Candidate("slow", 1e-5, bad)]).name == "slow"
    assert pick([Candidate("burst", 1e-3, good, diverged=True)]).name == "burst"


def test_pareto_marks_only_undominated_arms() -> None:
    arms = [
        arm("prompt-0shot", 0.3),
        arm("full", 0.9, suite("s", "Harmed", -0.2)),
        arm("lora", 0.8, suite("s", "Retained", -0.001)),
        arm("worse", 0.7, suite("s", "Harmed", -0.3)),
    ]
    assert [a.pareto for a in mark_pareto(arms)] == [True, True, True, False]
    idle = arm("huge", 0.99, not_run="needs 18 GB")
    assert [a.pareto for a in mark_pareto([*arms, idle])] == [True, True, True, False, False]


def test_break_even_counts_training_against_saved_prompt_tokens() -> None:
    tuned = Costs(tokens_per_request=40, train_tokens=1000, total_parameters=100, trainable_parameters=100)
    assert break_even_requests(tuned, Costs(tokens_per_request=240)) == 15  # 3 * 1000 / 200
    assert break_even_requests(tuned, Costs(tokens_per_request=40)) is None


def test_costs_cross_at_most_once() -> None:
    prompting, tuned = Costs(tokens_per_request=240), Costs(tokens_per_request=40, train_tokens=1000)  # 2,000 to train
    assert cheaper_between(tuned, prompting) == (10.0, math.inf)
    assert cheaper_between(prompting, tuned) == (0.0, 10.0)
    assert cheaper_between(Costs(tokens_per_request=40), tuned) == (0.0, math.inf)
    assert cheaper_between(tuned, Costs(tokens_per_request=40)) == (0.0, 0.0)
    assert cheaper_between(tuned, tuned) == (0.0, 0.0)


def test_harmed_arms_are_named_as_the_binding_constraint_and_not_taken() -> None:
    arms = [
        arm("prompt-0shot", 0.3),
        arm("full", 0.9, suite("addition", "Harmed", -0.2, bound=-0.22)),
        arm("lora", 0.8, suite("addition", "Retained")),
    ]
    result = recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000)
    assert result.arm == "lora"
    assert not result.provisional
    assert result.binding is not None
    assert "addition" in result.binding
    assert "full would be admitted at a common margin above 22.0 points and then be taken" in result.paragraph
    assert "says nothing about one method against another" in result.paragraph


def test_cheaper_arm_wins_when_it_is_not_inferior() -> None:
    arms = [arm("prompt-4shot", 0.80, tokens=300), arm("lora", 0.801, suite("s", "Retained"), trained=1000)]
    assert recommend(arms, gaps(arms, 0.005), seen(arms, 0.005), indifference=0.01, requests=1000).arm == "lora"
    assert recommend(arms, gaps(arms, 0.005), seen(arms, 0.005), indifference=0.01, requests=1).arm == "prompt-4shot"


def test_inconclusive_arm_is_provisional_and_says_what_would_settle_it() -> None:
    arms = [arm("prompt-0shot", 0.3), arm("lora", 0.8, suite("addition", "Inconclusive", -0.01, -0.03))]
    result = recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000)
    assert (result.arm, result.provisional, result.runner_up) == ("lora", True, "prompt-0shot")
    assert result.headline.startswith("Provisional")
    assert "addition (2.9k items)" in result.paragraph


def test_small_provisional_gain_does_not_displace_a_feasible_arm() -> None:
    arms = [arm("prompt-0shot", 0.79), arm("lora", 0.80, suite("s", "Inconclusive"))]
    assert recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000).arm == "prompt-0shot"


def test_nothing_feasible_without_prompting() -> None:
    arms = [arm("full", 0.9, suite("s", "Harmed", -0.2))]
    result = recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000)
    assert result.arm is None
    assert "No arm is feasible" in result.headline


@pytest.mark.parametrize("name", ["full", "lora"])
def test_without_suites_the_text_says_that_nothing_was_measured(name: str) -> None:
    arms = [arm("prompt-0shot", 0.3), arm(name, 0.8)]
    assert "not measured" in recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000).paragraph


def test_methods_are_compared_over_seeds_only() -> None:
    def run(*scores: float) -> list[ArmSummary]:
        full = arm("full", 0.9).model_copy(update={"seed_scores": scores})
        lora = arm("lora", 0.8).model_copy(
            update={"seed_scores": tuple(s - 0.1 - i / 100 for i, s in enumerate(scores))}
        )
        return [full, lora]

    def text(arms: list[ArmSummary]) -> str:
        return recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000).paragraph

    assert "One seed was run" in text(run(0.9))
    assert "2 seeds are too few" in text(run(0.9, 0.91))
    assert "Over 3 seeds full scores +11.0 points against lora (95 % +8.5 to +13.5" in text(run(0.9, 0.91, 0.92))


def test_guessing_is_never_recommended() -> None:
    arms = [arm("prompt-0shot", 0.49), arm("full", 0.68, suite("stories", "Harmed", -0.75, bound=-0.77))]
    result = recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000, chance=0.535)
    assert result.arm is None
    assert "beat guessing" in result.headline
    assert "guessing scores 53.5" in result.paragraph
    assert "harmed stories" in result.paragraph
    assert recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000, chance=0.3).arm == "prompt-0shot"
    without = [arm("prompt-0shot", 0.5), arm("lora", 0.51)]
    headline = recommend(without, gaps(without), seen(without), indifference=0.01, requests=1000, chance=0.5).headline
    assert headline == "Take none of these: no arm is shown to beat guessing."


def test_next_to_nothing_is_never_recommended() -> None:
    arms = [arm("prompt-0shot", 0.025), arm("full", 0.18, suite("trec", "Harmed", -0.25))]
    assert recommend(arms, gaps(arms), seen(arms), indifference=0.03, requests=1000).arm is None
    assert recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000).arm == "prompt-0shot"
