"""What makes sense after a run follows from its records."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import fixture_summary as fixture
import pytest

from keeptune.core.config import parse_recipe
from keeptune.core.records import ArmParts, ArmSummary, RemedyDose, Summary
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.next_steps import next_steps

COMMAND = "keeptune study mine.yaml"
CONFIG = {"target": [{"data": "my rows.jsonl"}], "retain": [{"task": "x"}], "lora": {"learning_rates": [1e-5, 1e-4]}}


def verdict(word: str, **changes: Any) -> Any:
    one = next(v for arm in fixture.arms() for v in arm.suites)
    return one.model_copy(update={"suite": "addition", "verdict": word, "n_needed": None, **changes})


def lora(**changes: Any) -> ArmSummary:
    values = {"gain_mean": 0.2, "lr": 1e-5, "suites": (verdict("Retained"),), "arm": "lora", **changes}
    parts = ArmParts(method="lora")
    arm = ArmSummary(
        name="lora-1", label="LoRA", family="lora", parts=parts, target=fixture.score(0.6), folder="arms/l"
    )
    return arm.model_copy(update=values)


def study(*arms: ArmSummary, take: str | None = None, command: str = COMMAND, **config: Any) -> Summary:
    base = fixture.study()
    prompt = ArmSummary(
        name="prompt-0shot", label="prompting", family="prompt", arm="prompt", target=fixture.score(0.4)
    )
    manifest = base.manifest.model_copy(update={"command": command, "config": {**CONFIG, **config}})
    advice = base.recommendation.model_copy(update={"arm": take})
    return base.model_copy(
        update={"arms": (prompt, *arms), "manifest": manifest, "recommendation": advice, "model": "m", "seeds": (0,)}
    )


def commands(summary: Summary) -> list[str]:
    return [step.command for step in next_steps(summary, Path("runs/mine"))]


def override(command: str) -> StudyConfig:
    """The recipe that a command's last --set makes."""
    words = shlex.split(command)
    return parse_recipe(StudyConfig, "model: builtin\ntarget: {task: builtin:orders}\n", overrides=[words[-1]])


def test_a_suite_that_got_worse_asks_for_remedies() -> None:
    (first, *_) = commands(study(lora(suites=(verdict("Harmed"),))))
    assert first.startswith(f"{COMMAND} --set ")
    assert override(first).arms == ("prompt", "lora", "lora+replay:5%", "lora+kl")


def test_where_remedies_were_tried_none_is_asked_for() -> None:
    kept = lora(name="lora-2", parts=ArmParts(method="lora", remedies=(RemedyDose(name="kl"),)))
    assert not any("arms=" in command for command in commands(study(lora(suites=(verdict("Harmed"),)), kept)))


def test_training_that_did_not_beat_prompting_asks_to_look_at_the_data() -> None:
    assert commands(study(lora(gain_mean=-0.01)))[0] == "keeptune data preview 'my rows.jsonl' --model m"


def test_what_lost_nothing_and_learned_too_little_asks_for_another_method_or_more_passes() -> None:
    trained = study(lora(), command="keeptune train --model m --data 'my rows.jsonl'")
    assert commands(trained) == ["keeptune init 'my rows.jsonl' --model m"]
    assert commands(study(lora(), train={"epochs": 3})) == [f"{COMMAND} --set train.epochs=6"]
    assert commands(study(lora(), take="lora-1", train={"epochs": 3}))[0].startswith("keeptune evaluate")


def test_the_highest_rate_asks_for_a_higher_one() -> None:
    (first, *_) = commands(study(lora(lr=1e-4)))
    assert override(first).lora.learning_rates == pytest.approx((1e-5, 1e-4, 3e-4))
    assert not any("learning_rates" in command for command in commands(study(lora(lr=1e-5))))


def test_an_open_verdict_asks_for_the_items_that_were_left_out() -> None:
    unsure = lora(suites=(verdict("Inconclusive", n_needed=900),))
    assert commands(study(unsure, test_items=100)) == [f"{COMMAND} --set test_items=900"]
    assert commands(study(unsure)) == []


def test_an_arm_to_take_is_asked_about_other_data(tmp_path: Path) -> None:
    assert commands(study(lora(), take="lora-1")) == ["keeptune evaluate --model runs/mine/tuned --task NEW.jsonl"]
    first = commands(study(lora(), take="lora-1", retain=[]))[0]
    assert first == "keeptune compare m runs/mine/tuned --retain OTHER.jsonl"
    (tmp_path / "arms" / "l" / "adapter").mkdir(parents=True)
    (step,) = next_steps(study(lora(), take="lora-1"), tmp_path)
    assert f"--model m --adapter {tmp_path / 'tuned'}" in step.command
    assert str(step).startswith("next: keeptune evaluate") and step.reason in str(step)


def test_a_demo_leads_to_own_data_and_code_to_no_command() -> None:
    assert commands(study(lora(), command="keeptune demo --quick")) == ["keeptune init rows.jsonl"]
    assert commands(study(lora(suites=(verdict("Harmed"),)), command="")) == []


def test_there_are_never_more_than_two() -> None:
    busy = lora(gain_mean=-0.1, lr=1e-4, suites=(verdict("Worse", n_needed=900),))
    assert len(commands(study(busy, test_items=100))) == 2


def test_a_comparison_that_passed_leads_to_the_gate() -> None:
    passed = study(take="after", command="keeptune compare a b --limit 50", limit=50)
    sides = [
        ArmSummary(name=name, label=name, family=family, target=fixture.score(0.4))
        for name, family in (("before", "base"), ("after", "tuned"))
    ]
    assert commands(passed.model_copy(update={"arms": tuple(sides), "seeds": ()})) == [
        "keeptune ci init a b --limit 50"
    ]
