"""What a budget takes away, in the stated order."""

from __future__ import annotations

import pytest
from planned import config, estimates

from keeptune.core.errors import ConfigError
from keeptune.core.records import ArmPlan
from keeptune.core.units import parse_duration
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.jobs.explore import Explore
from keeptune.study.jobs.interpolate import Interpolate
from keeptune.study.jobs.sequence import TaskSequence
from keeptune.study.jobs.test import ScoreTest, TrainAndTest
from keeptune.study.jobs.train import Train
from keeptune.study.schedule.plan import plan_table, within
from keeptune.study.trial import Trial
from keeptune.train.estimate import Needs
from keeptune.train.remedies.base import Need


def total(recipe: StudyConfig) -> float:
    return sum(estimates().arm(recipe, spec)[1] for spec in recipe.training_arms)


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
    assert kept.method("full").learning_rates == (1e-4,)
    assert kept.method("lora").learning_rates == (1e-3,)
    assert kept.seeds == (0,)


def test_no_more_is_dropped_than_needed() -> None:
    recipe = config()
    kept, dropped = within(recipe, estimates(), total(recipe) - 1)
    assert dropped == ["seed 2"]
    assert total(kept) <= total(recipe) - 1


def test_an_arm_that_trains_is_left() -> None:
    kept, dropped = within(config(arms=["lora+kl", "lora+replay:5%"], curve=None), estimates(), 0.0)
    assert (kept.arms, dropped[-1]) == (("lora+kl",), "lora+replay:5%")


def test_all_methods_keep_the_same_number_of_rates() -> None:
    kept, _ = within(config(seeds=[0], curve=None), estimates(), 65.0)
    assert len(kept.method("full").learning_rates) == len(kept.method("lora").learning_rates) == 2


def test_replay_and_kl_cost_time_and_kl_the_memory_of_a_copy() -> None:
    recipe, found = config(), estimates()
    plain = found.training(recipe, Arm.of("full", recipe))
    assert found.training(recipe, Arm.of("full+replay:20%", recipe)) == pytest.approx(plain / 0.8)
    assert found.training(recipe, Arm.of("full+kl", recipe)) == pytest.approx(plain * 4 / 3)
    assert found.memory(Arm.of("full+kl", recipe)) == 1400
    assert found.memory(Arm.of("lora+kl", recipe)) == 1000


def test_a_point_on_the_way_to_a_model_that_is_no_arm_costs_the_model() -> None:
    recipe, found = config(arms=["full", "full+interpolate", "lora+kl+interpolate"], curve=None), estimates()
    alone = found.arm(recipe, Arm.of("lora+kl+interpolate", recipe))
    assert alone == (5, pytest.approx(5 * found.training(recipe, Arm.of("lora+kl", recipe))))
    assert found.arm(recipe, Arm.of("full+interpolate", recipe)) == (0, 0.0)


def test_sizes_that_the_data_do_not_have_cost_nothing() -> None:
    recipe = config(curve={"sizes": [50, 1000, 5000], "arms": ["lora"]})
    assert estimates().arm(recipe, Arm.of("lora", recipe))[0] == 5 + 1


def test_a_budget_holds_for_sequences() -> None:
    recipe = config(arms=["prompt"], curve=None, sequence={"orders": [["a", "b"], ["b", "a"]], "arms": ["full"]})
    found = estimates(test_seconds=1.0, tasks=2)
    one = 3 * found.training(recipe, Arm.of("full", recipe)) + 3.0  # three rates; two tasks and the base tested
    assert found.sequence(recipe, Arm.of("full", recipe)) == (2 * 3 * 2 * 3, pytest.approx(6 * one))
    kept, dropped = within(recipe, found, 0.0)
    assert dropped == ["seed 2", "seed 1", "the highest rates", "the lowest rates"]
    assert kept.method("full").learning_rates == (1e-4,)


def test_the_plan_is_the_sum_of_its_jobs() -> None:
    recipe = config(
        arms=["prompt", "full", "lora", "lora+replay:5%", "full+interpolate", "lora+kl+interpolate"],
        sequence={"orders": [["a", "b"], ["b", "a"]], "arms": ["full", "lora+replay:10%"]},
    )
    found = estimates(test_seconds=2.0, validation_seconds=3.0, tasks=2)
    jobs: list[Job] = [
        TaskSequence(arm, order, seed, recipe.learning_rates(arm))
        for arm in recipe.sequence_arms
        for order in (("a", "b"), ("b", "a"))
        for seed in recipe.seeds
    ]
    for arm in dict.fromkeys(arm.trained for arm in recipe.training_arms):
        jobs += [Train(Trial(arm, lr, 0)) for lr in recipe.learning_rates(arm)]
        jobs += [Train(Trial(arm, 1e-3, seed)) for seed in (1, 2)]
    for arm in recipe.training_arms:
        for seed in recipe.seeds:
            trial = Trial(arm.trained, 1e-3, seed)
            jobs += [ScoreTest(trial, arm), *([Interpolate(trial)] if arm.interpolated else [])]
    lora = Arm.of("lora", recipe)
    jobs += [TrainAndTest(Trial(lora, 1e-3, 0, size), lora) for size in (50, 100)]
    assert found.total(recipe) == pytest.approx(sum(job.seconds(found, recipe) for job in jobs))
    assert Train(Trial(lora, 1e-3, 0), weights=True).seconds(found, recipe) == 0


def test_the_plan_ends_with_its_total() -> None:
    def planned(arm: str, trials: int, seconds: float | None) -> ArmPlan:
        return ArmPlan(arm=arm, trials=trials, memory_bytes=1000, seconds=seconds)

    def last(*plans: ArmPlan) -> list[str]:
        return [list(column.cells)[-1] for column in plan_table(plans).columns]

    assert last(planned("full", 4, 50.0), planned("lora", 6, 40.0)) == ["all arms", "10", "", "1 min 30 s"]
    assert last(planned("full", 4, 50.0), planned("lora", 6, None)) == ["all arms", "10", "", "?"]
    assert last(planned("full", 4, 50.0))[0] == "full"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": [0, 0]}, "each once"),
        ({"full": {"learning_rates": [1e-4, 1e-4]}}, "each once"),
        ({"sequence": {"arms": ["full", "full"]}}, "each arm once"),
        ({"arms": ["lora", "lora+interpolate"], "curve": {"arms": ["lora+interpolate"]}}, "among the arms that train"),
    ],
)
def test_what_is_named_twice_or_cannot_train_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**changes)


@pytest.mark.parametrize(("text", "seconds"), [("4h", 14400), ("90 min", 5400), ("1.5d", 129600), ("30s", 30)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["4", "h", "-1h", "0h", "four hours"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write a number"):
        parse_duration(text)


def test_a_training_of_a_search_is_the_recipes_while_it_has_so_many() -> None:
    retain = [{"task": "builtin:addition", "margin": 3}]
    recipe = config(arms=["prompt", "full", "search"], curve=None, retain=retain, search={"trainings": 5})
    trial = Trial(Arm.of("full+ewc:30", recipe), 1e-4, 0, longer=3)
    assert Explore(trial, 5).belongs_to(recipe) and not Explore(trial, 6).belongs_to(recipe)
    assert Explore(trial, 6, weights=True).belongs_to(recipe)  # of what was chosen they are needed
    plain = Train(Trial(Arm.of("full", recipe), 1e-4, 0))
    assert Explore(trial, 1).seconds(estimates(), recipe) == 3 * plain.seconds(estimates(), recipe)


def test_old_rows_take_the_time_of_their_tokens_and_a_pull_that_of_updates() -> None:
    recipe = config(arms=["full", "full+replay:50%", "full+self-replay:50%", "full+ewc:30"], curve=None)
    found = estimates(per_trained=4.0, per_replayed=8.0)
    seconds = {arm.name: found.steps_alone(arm) for arm in recipe.training_arms}
    assert seconds["full"] == pytest.approx(10)
    assert seconds["full+replay:50%"] == pytest.approx(30)  # a trained token more for each, and eight with it
    assert seconds["full+self-replay:50%"] == pytest.approx(12.5)  # all tokens of a text are trained
    found = estimates(needs={"full": Needs(seconds_per_token=0.0, seconds_per_step=1.0, memory_bytes=None)})
    plain, pulled = (found.steps_alone(Arm.of(name, recipe)) for name in ("full", "full+ewc:30"))
    assert (plain, pulled) == (10, 40)


def test_a_search_is_planned_with_both_remedies_and_the_most_epochs() -> None:
    retain = [{"task": "builtin:addition", "margin": 3}]
    recipe = config(arms=["full", "search"], curve=None, retain=retain, search={"trainings": 5}, seeds=[0])
    (arm,) = recipe.searched_arms
    assert arm.needs(Need.SUITES) and arm.needs(Need.REHEARSAL_ROWS) == ["ewc", "replay"]
    assert estimates().search(recipe) == (5, 5 * estimates().training(recipe, arm, longer=3))
