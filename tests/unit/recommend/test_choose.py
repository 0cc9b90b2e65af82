"""The choices of a study: ties, Pareto, break-even and the recommendation, on hand-made tables."""

from __future__ import annotations

import numpy as np
import pytest
from tables import arm, gaps, seen, suite

from keeptune.core.records import ArmSummary, Estimate, Interval, Recommendation
from keeptune.recommend.choose import mark_pareto, recommend
from keeptune.recommend.pick import Candidate, pick, pick_between, pick_kept
from keeptune.study.records import SuiteScores, ValidationScores


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


def test_of_rates_that_tie_the_least_trained_is_not_taken_where_its_loss_says_so() -> None:
    """A hundred items cannot tell four rates apart; the paired losses of their rows can."""
    rng = np.random.default_rng(0)
    scores, rows = (rng.random(100) < 0.8).astype(float), rng.gamma(2.0, 0.3, 100)
    losses = (1.185, 0.61, 0.58, 0.59)
    rates = [
        Candidate(f"{lr:g}", lr, scores, rows * loss + rng.normal(0, 0.2, 100))
        for lr, loss in zip((1e-4, 3e-4, 1e-3, 3e-3), losses, strict=True)
    ]
    assert pick(rates).name == "0.0003"  # as good as the best within its noise
    assert pick([Candidate(c.name, c.cost, c.scores) for c in rates]).name == "0.0001"


NOTHING = np.zeros(100)


def rate(name: str, right: int, tier: int, room: float = 0.0) -> Candidate:
    return Candidate(name, right / 100, np.r_[np.ones(right), np.zeros(100 - right)], tier=tier, room=room)


@pytest.mark.parametrize(
    ("rates", "picked"),
    [
        ([rate("kept", 40, 0), rate("lost", 90, 2)], "kept"),  # however much more the other gained
        ([rate("as seen", 40, 1), rate("lost", 90, 2)], "as seen"),
        ([rate("idle", 1, 0), rate("lost", 90, 2)], "lost"),  # nothing learned
        ([rate("sure", 50, 0), rate("as seen", 60, 1)], "sure"),
        ([rate("sure", 20, 0), rate("as seen", 60, 1)], "as seen"),  # half of the gain for a standard error
        ([rate("one", 60, 2), rate("two", 90, 2)], "two"),  # none keeps: the target alone
    ],
)
def test_what_keeps_the_suites_is_picked_before_what_scores_more(rates: list[Candidate], picked: str) -> None:
    assert pick_kept(rates, NOTHING).name == picked


def test_a_point_on_the_way_is_chosen_by_a_bound_and_not_by_what_was_seen() -> None:
    """At 0.8 the loss is within its margin as seen, and a standard error would take it out."""

    def point(alpha: float, right: int, change: float, losses: tuple[float, ...] = ()) -> Candidate:
        suite = SuiteScores(suite="sums", margin=0.03, change=change, error=0.01, scores=())
        seen = ValidationScores(target=(1.0,) * right + (0.0,) * (100 - right), suites=(suite,))
        return Candidate(f"{alpha:g}", alpha, np.array(seen.target), np.array(losses), tier=seen.tier, room=seen.room)

    way = [point(0.2, 10, 0.0), point(0.4, 45, -0.01), point(0.8, 70, -0.025), point(1.0, 80, -0.2)]
    assert pick_between(way, NOTHING).cost == 0.4
    assert pick_between(way[2:], NOTHING).cost == 0.8
    assert pick_between([point(0.2, 80, 0.0), point(0.6, 80, 0.0)], NOTHING).cost == 0.2
    lower = [point(0.2, 80, 0.0, (1.2, 1.1, 1.3)), point(0.6, 80, 0.0, (0.6, 0.5, 0.8))]
    assert pick_between(lower, NOTHING).cost == 0.6


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


def test_the_headline_says_what_its_interval_covers() -> None:
    """Items of one training; where there are several, the gain over seeds stands beside it."""
    one = {"gain": Interval(low=0.4, high=0.6), "gain_mean": 0.5, "seed_scores": (0.8,)}
    several = {
        **one,
        "seed": 0,
        "seed_scores": (0.8, 0.34, 0.9),
        "gain_seeds": Estimate(mean=0.38, interval=Interval(low=-0.3, high=1.0)),
    }
    prompting, lora = arm("prompt-0shot", 0.3), arm("lora", 0.8, suite("s", "Retained"))

    def said(update: dict[str, object]) -> Recommendation:
        arms = [prompting, lora.model_copy(update=update)]
        return recommend(arms, gaps(arms), seen(arms), indifference=0.01, requests=1000)

    headline = "Take lora: +50.0 accuracy points over the best prompting (95 % +40.0 to +60.0, this checkpoint)"
    assert said(one).headline == f"{headline}."
    assert said(several).headline == f"{headline}; over 3 seeds +38.0 (95 % −30.0 to +100.0)."
    assert "Verdicts are about one checkpoint, that of seed 0" in said(several).paragraph
    assert "68.0, 34.0 to 90.0 over 3 seeds" in said(several).paragraph
