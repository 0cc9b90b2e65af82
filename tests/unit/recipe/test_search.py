"""What a recipe says of a search, and the names that its trainings have."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig, with_search
from keeptune.recipe.search import SearchConfig, arm_of, setting_of
from keeptune.recommend.doses import Setting
from keeptune.study.schedule.plan import FEWEST, within
from keeptune.study.trial import Trial
from keeptune.train.loop import TrainConfig
from keeptune.train.remedies.base import Need


def recipe(**changes: Any) -> StudyConfig:
    values = {
        "model": "builtin",
        "target": {"task": "builtin:orders"},
        "retain": [{"task": "builtin:addition", "margin": 3}],
        "arms": ["prompt", "full", "lora", "search"],
        **changes,
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def test_a_search_is_an_arm_that_names_no_method() -> None:
    found = recipe()
    assert found.searches and [arm.name for arm in found.training_arms] == ["full", "lora"]
    assert [[remedy.name for remedy in arm.remedies] for arm in found.searched_arms] == [["ewc", "replay"]] * 2
    assert [arm.method.name for arm in found.searched_arms] == ["full", "lora"]
    more = recipe(arms=["full", "search"], search={"remedies": ["kl", "replay", "l2sp"]})
    assert [[remedy.name for remedy in arm.remedies] for arm in more.searched_arms] == [
        ["kl", "l2sp"],
        ["kl", "replay"],
        ["l2sp", "replay"],
    ]
    assert found.needs(Need.REHEARSAL_ROWS) and not recipe(arms=["full"]).needs(Need.REHEARSAL_ROWS)


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        (Setting("full", 1e-3), "full"),
        (Setting("full", 1e-3, (("ewc", 31.6), ("replay", 0.3))), "full+ewc:31.6+replay:30%"),
        (Setting("last-layers:2", 1e-3, (("l2sp", 1e-4),)), "last-layers:2+l2sp:0.0001"),
    ],
)
def test_settings_and_arms_name_each_other(setting: Setting, name: str) -> None:
    arm = arm_of(setting, recipe())
    assert arm.name == name
    assert setting_of(arm, setting.lr) == setting
    assert arm_of(setting, recipe(), interpolated=True).name == f"{name}+interpolate"


def test_an_arm_whose_remedy_has_no_number_is_no_setting() -> None:
    assert setting_of(Arm.of("full+guard", recipe()), 1e-3) is None


def test_remedies_that_do_not_go_with_a_method_are_left_out() -> None:
    found = recipe(arms=["prompt-tuning", "full", "search"])
    assert [arm.method.name for arm in found.searched_arms if "ewc" in arm.name] == ["full"]
    stored = recipe(arms=["lora", "search"], quantise="nf4")
    assert [arm.name.split(":")[0] for arm in stored.searched_arms] == ["lora+replay"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": ["prompt", "search"]}, "starts from a plain method"),
        ({"arms": ["full+kl", "search"]}, "starts from a plain method"),
        ({"retain": "none"}, "retain says none"),
        ({"search": {"remedies": ["guard"]}}, "no remedy with a dose to search"),
        ({"search": {"remedies": ["ewc", "ewc"]}}, "each once"),
        ({"search": {"trainings": 0}}, "greater than or equal to 1"),
        ({"arms": ["prompt-tuning", "search"], "search": {"remedies": ["ewc"]}}, "goes with a remedy of the search"),
        ({"arms": ["full", "search", "search"]}, "each arm once"),
    ],
)
def test_what_cannot_be_searched_is_refused_when_it_is_read(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipe(**changes)


def test_a_search_is_added_to_a_recipe_once_and_leaves_the_rest_unsaid() -> None:
    plain = recipe(arms=["prompt", "full"])
    found = with_search(plain)
    assert found.arms == ("prompt", "full", "search") and with_search(found) == found
    assert found.model_fields_set == plain.model_fields_set
    with pytest.raises(ConfigError, match="starts from a plain method"):
        with_search(recipe(arms=["prompt"]))


def test_a_longer_training_has_a_name_and_settings_of_its_own() -> None:
    arm = Arm.of("full", recipe())
    assert Trial(arm, 1e-3, 0).name == "full-lr0.001-seed0"
    assert Trial(arm, 1e-3, 0, longer=3).name == "full-lr0.001-seed0-3x"
    train = TrainConfig(epochs=2, max_steps=10)
    assert train.times(1) == train and train.times(3) == TrainConfig(epochs=6, max_steps=30)
    assert TrainConfig(epochs=2, global_batch=4).times(3).steps(8) == 3 * TrainConfig(epochs=2, global_batch=4).steps(8)


def test_a_budget_takes_trainings_of_the_search_before_what_is_trained_by_then() -> None:
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
    from planned import estimates

    kept, dropped = within(recipe(seeds=[0], search=SearchConfig().model_dump()), estimates(), 0.0)
    assert dropped[:2] == ["6 trainings of the search", "2 trainings of the search"]
    assert kept.search.trainings == FEWEST and kept.searches
    assert estimates().search(kept)[0] == FEWEST
    assert estimates().search(recipe(arms=["full"])) == (0, 0.0)
