"""The word at the top of the page and its sentences follow the recommendation and the verdicts."""

from __future__ import annotations

from pathlib import Path

import fixture_large as large
import fixture_summary as fixture
import pytest

from keeptune.core.records import Interval, Recommendation, Summary
from keeptune.core.units import any_of
from keeptune.report.arms import arm_views
from keeptune.report.sections.decision import Decision, decision


def decided(summary: Summary) -> Decision:
    return decision(summary, arm_views(summary, Path("nothing here")))


def advised(arm: str | None, *, provisional: bool = False, chosen: str | None = None) -> Recommendation:
    return fixture.study().recommendation.model_copy(update={"arm": arm, "chosen": chosen, "provisional": provisional})


def test_a_firm_choice_of_a_trained_arm_is_kept() -> None:
    arm = fixture.arms()[5]
    kept = arm.model_copy(update={"suites": tuple(v for v in arm.suites if v.verdict == "Retained")})
    found = decided(fixture.study(arms=(*fixture.arms()[:5], kept), recommendation=advised("lora")))
    assert found.word == "Keep"
    assert found.learned == (
        "LoRA r=16 scores 41.2 exact match on dialogsum, +18.2 points over the best prompting (95 % +15.8 to +20.6)."
    )
    assert found.lost == "Nothing beyond the margin, on any of 5 suites."
    assert any_of(1) == "the only suite"
    assert found.to_do == "Take LoRA r=16; its model is in tuned/, in the run folder."


def test_a_provisional_choice_is_undecided_and_says_what_would_settle_it() -> None:
    found = decided(fixture.study())
    assert found.word == "Undecided"
    assert found.lost == "Nothing beyond the margin on 5 of 7 suites; not settled: addition, sentiment."
    assert found.to_do == "Test more items before shipping: about 2,900 would settle addition."


@pytest.mark.parametrize("arm", ["prompt-4shot", None])
def test_a_trained_arm_that_harms_is_not_shipped(arm: str | None) -> None:
    found = decided(fixture.study(recommendation=advised(arm, chosen="full")))
    assert found.word == "Do not ship"
    assert found.lost == (
        "More than the margin on 3 of 7 suites: addition (−31.0 pt), odd one out (−8.2 pt), held-out prose (−4.3 %)."
    )
    stay = "take Prompting, 4 shots" if arm else "stay with the model as it was"
    assert found.to_do == (
        f"Do not ship Full fine-tuning; {stay}, or train again with a remedy against forgetting, replay first."
    )


def test_where_remedies_were_tried_the_one_that_lost_least_is_named() -> None:
    summary = large.large()
    harmed = next(arm for arm in summary.arms if any(v.verdict == "Harmed" for v in arm.suites))
    found = decided(summary.model_copy(update={"recommendation": advised(None, chosen=harmed.name)}))
    assert "or start from IA3, lr 0.01, which lost least (−0.6 at worst)" in found.to_do.replace(
        "\N{NO-BREAK SPACE}", " "
    )


def test_what_was_not_measured_is_not_kept() -> None:
    bare = fixture.arms()[5].model_copy(update={"suites": ()})
    summary = fixture.study(arms=(*fixture.arms()[:4], bare), recommendation=advised("lora"))
    found = decided(summary)
    assert (found.word, found.lost) == ("Undecided", "Not measured: no retained suite was given.")
    config = {**summary.manifest.config, "forgetting": "harmless"}
    harmless = summary.model_copy(update={"manifest": summary.manifest.model_copy(update={"config": config})})
    assert decided(harmless).word == "Keep"


def test_a_training_that_gained_nothing_is_not_shipped() -> None:
    kept = tuple(v for v in fixture.lora_suites() if v.verdict == "Retained")
    update = {"suites": kept, "gain_mean": 0.002, "gain": Interval(low=-0.02, high=0.024)}
    arm = fixture.arms()[5].model_copy(update=update)
    found = decided(fixture.study(arms=(*fixture.arms()[:4], arm), recommendation=advised(None)))
    assert found.word == "Do not ship"
    assert "not shown to be better than the best prompting: +0.2 points (−2.0 to +2.4)" in found.learned.replace(
        "95 % ", ""
    )
    assert found.to_do.endswith("look at what was trained on.")
    blamed = arm.model_copy(update={"cause": "rate: too low"})
    found = decided(fixture.study(arms=(*fixture.arms()[:4], blamed), recommendation=advised(None)))
    assert found.to_do.endswith("likely cause of learning nothing: rate: too low.")


def test_tasks_learned_in_turn_are_summed_up() -> None:
    sequences = (large.sequence("lora", "LoRA r=16", ("a", "b"), 0.04),)
    found = decided(fixture.study(arms=fixture.arms()[:1], sequences=sequences, recommendation=advised(None)))
    assert found.word == "Undecided"
    assert found.learned.startswith("LoRA r=16 ends with ")
    assert "forgot" in found.lost


def test_prompting_alone_is_kept() -> None:
    found = decided(fixture.study(arms=fixture.arms()[:4], recommendation=advised("prompt-4shot")))
    assert (found.word, found.lost) == ("Keep", "Nothing: no weight was changed.")
