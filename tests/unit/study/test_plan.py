"""What a budget takes away, in the stated order."""

from __future__ import annotations

import pytest
import yaml

from keeptune.core.config import parse_recipe
from keeptune.core.units import parse_duration
from keeptune.study.config import StudyConfig
from keeptune.study.plan import Estimates, within
from keeptune.study.spec import ArmSpec
from keeptune.train.estimate import Needs


def config(**changes: object) -> StudyConfig:
    values = {
        "model": "builtin",
        "target": {"task": "builtin:orders"},
        "arms": ["prompt", "full", "lora", "lora+replay:5%"],
        "seeds": [0, 1, 2],
        "curve": {"sizes": [50, 100], "arms": ["lora"]},
        "full": {"rates": [1e-5, 1e-4, 1e-3]},
        "lora": {"rates": [1e-4, 1e-3, 1e-2]},
        **changes,
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def estimates(**changes: object) -> Estimates:
    needs = Needs(seconds_per_token=1e-3, seconds_per_step=0.0, memory_bytes=1000)
    values = {
        "needs": {"full": needs, "lora": needs},
        "steps": 10,
        "tokens": 10_000,
        "validation_seconds": 0.0,
        "test_seconds": 0.0,
        "bytes_of_model": 400,
        **changes,
    }
    return Estimates(**values)  # type: ignore[arg-type]


def total(recipe: StudyConfig) -> float:
    return sum(estimates().arm(recipe, spec)[1] for spec in recipe.specs)


def test_nothing_is_dropped_from_what_fits() -> None:
    recipe = config()
    assert within(recipe, estimates(), total(recipe)) == (recipe, [])


def test_the_stated_order() -> None:
    kept, dropped = within(config(), estimates(), 0.0)
    assert dropped == [
        "seed 2",
        "seed 1",
        "100 examples of the learning curve",
        "50 examples of the learning curve",
        "the highest rates",
        "the lowest rates",
        "lora+replay:5%",
    ]
    assert kept.arms == ("prompt", "full", "lora")
    assert kept.rates("full") == (1e-4,)
    assert kept.rates("lora") == (1e-3,)
    assert kept.seeds == (0,)


def test_no_more_is_dropped_than_needed() -> None:
    recipe = config()
    kept, dropped = within(recipe, estimates(), total(recipe) - 1)
    assert dropped == ["seed 2"]
    assert total(kept) <= total(recipe) - 1


def test_all_methods_keep_the_same_number_of_rates() -> None:
    kept, _ = within(config(seeds=[0], curve=None), estimates(), 65.0)
    assert len(kept.rates("full")) == len(kept.rates("lora")) == 2


def test_replay_and_kl_cost_time_and_kl_the_memory_of_a_copy() -> None:
    recipe, found = config(), estimates()
    plain = found.training(recipe, ArmSpec.parse("full"))
    assert found.training(recipe, ArmSpec.parse("full+replay:20%")) == pytest.approx(plain / 0.8)
    assert found.training(recipe, ArmSpec.parse("full+kl")) == pytest.approx(plain * 4 / 3)
    assert found.memory(ArmSpec.parse("full+kl")) == 1400
    assert found.memory(ArmSpec.parse("lora+kl")) == 1000


@pytest.mark.parametrize(("text", "seconds"), [("4h", 14400), ("90 min", 5400), ("1.5d", 129600), ("30s", 30)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["4", "h", "-1h", "0h", "four hours"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write a number"):
        parse_duration(text)
