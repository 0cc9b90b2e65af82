"""A budget while jobs are done, on a clock that the jobs move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from planned import config, estimates

from keeptune.core.records import read_json, write_json
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.jobs.baseline import ScoreBase
from keeptune.study.jobs.explore import Explore
from keeptune.study.jobs.sequence import TaskSequence
from keeptune.study.jobs.train import Train
from keeptune.study.schedule.deadline import Deadline
from keeptune.study.schedule.plan import FILE, PlanRecord, within
from keeptune.study.schedule.runner import InProcess
from keeptune.study.trial import Trial

ARMS = ["prompt", "full", "lora", "lora+l2sp"]


@dataclass
class Study:
    """As much of a study as a deadline needs, and a clock that every training moves."""

    folder: Path
    recipe: StudyConfig
    slow: Callable[[int], float] = lambda number: 1.0  # times as long as planned, by number of the training
    workers: int = 1
    before: set[str] = field(default_factory=set)  # trained by an earlier run
    now: float = 0.0
    ran: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        found = read_json(self.folder / FILE, PlanRecord) if (self.folder / FILE).is_file() else None
        if found is None:
            kept, dropped = within(self.recipe, estimates(), self.budget * self.workers)
            found = PlanRecord.of(
                "key", self.recipe, kept, estimates(), dict.fromkeys(ARMS, True), self.workers, dropped
            )
            write_json(self.folder / FILE, found)
        self.deadline = Deadline(self.folder, self.recipe, found, self.workers, lambda: self.now, self.warnings.append)

    @property
    def config(self) -> StudyConfig:
        return self.deadline.recipe

    @property
    def budget(self) -> float:
        return float((self.recipe.budget or "").removesuffix("s"))

    def train(self, trial: Trial) -> bool:
        if trial.name in self.before:
            return False
        self.now += self.slow(len(self.ran)) * estimates().training(self.recipe, trial.arm)
        self.ran.append(trial.name)
        return True

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first seed and then the others."""
        monkeypatch.setattr(Train, "perform", lambda job, study: study.train(job.trial))
        runner = InProcess(self)  # type: ignore[arg-type]
        runner.run(first(self.config), self.deadline)
        arms, seeds = self.config.training_arms, self.config.seeds[1:]
        runner.run([Train(Trial(arm, 1e-3, seed)) for seed in seeds for arm in arms], self.deadline)

    @property
    def record(self) -> PlanRecord:
        return read_json(self.folder / FILE, PlanRecord)


def first(recipe: StudyConfig) -> list[Job]:
    return [Train(Trial(arm, lr, 0)) for arm in reversed(recipe.training_arms) for lr in recipe.learning_rates(arm)]


def study(folder: Path, budget: float, **settings: Any) -> Study:
    # three arms, three rates, two further seeds: 15 trainings of 10 s
    changes = {"arms": ARMS, "curve": None, "seeds": [0, 1, 2], **settings.pop("recipe", {})}
    return Study(folder, config(budget=f"{budget:g}s", **changes), **settings)


@pytest.fixture
def unplanned(tmp_path: Path) -> Callable[..., Study]:
    def make(budget: float, **settings: Any) -> Study:
        return study(tmp_path, budget, **settings)

    return make


Make = Callable[..., Study]


def rates_of(names: Sequence[str]) -> list[str]:
    return [name.split("-lr")[1] for name in names]


def test_what_takes_as_long_as_planned_is_all_run(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = unplanned(151)
    before = made.record
    assert made.config.seeds == (0, 1, 2) and sum(each.seconds or 0 for each in before.plans) == pytest.approx(150)
    made.run(monkeypatch)
    assert len(made.ran) == 15 and made.now == pytest.approx(150)
    assert not made.warnings and made.record == before


def test_what_is_dropped_first_is_run_last(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = unplanned(200)
    made.run(monkeypatch)
    assert made.ran[:3] == ["lora-lr0.001-seed0", "full-lr0.0001-seed0", "lora+l2sp-lr0.001-seed0"]
    assert rates_of(made.ran[3:6]) == ["0.0001-seed0", "0.0001-seed0", "1e-05-seed0"]
    assert rates_of(made.ran[6:9]) == ["0.01-seed0", "0.01-seed0", "0.001-seed0"]
    assert [name[-1] for name in made.ran[9:]] == ["1", "1", "1", "2", "2", "2"]


def test_slow_trainings_drop_what_comes_first(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as slow: two rates of every arm take 120 s, three would take 180 s."""
    made = unplanned(165, slow=lambda number: 2.0)
    made.run(monkeypatch)
    assert len(made.ran) == 6 and made.now == pytest.approx(120)
    assert (
        made.config.seeds,
        made.config.method("full").learning_rates,
        made.config.method("lora").learning_rates,
    ) == (
        (0,),
        (1e-5, 1e-4),
        (1e-4, 1e-3),
    )
    assert made.config.arms == tuple(ARMS)
    late = ("seed 2", "seed 1", "the highest rates")
    assert {(each.dropped, each.late, each.trials) for each in made.record.plans} == {(late, late, 2)}
    assert len(made.warnings) == 1
    assert "2.0 times as long as planned" in made.warnings[0]
    assert made.warnings[0].endswith("not run: seed 2, seed 1, the highest rates")


def test_a_slow_beginning_may_be_caught_up(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = unplanned(180, slow=lambda number: 2.5 if number == 0 else 1.0)
    made.run(monkeypatch)
    assert len(made.ran) == 15 and not made.warnings


def test_a_slow_end_drops_the_last_seed_for_all_arms(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second seed is cut short: no arm has it, and the time is kept to a training."""
    made = unplanned(165, slow=lambda number: 1.0 if number < 12 else 3.0)
    made.run(monkeypatch)
    assert [name for name in made.ran if name.endswith("seed2")] == ["full-lr0.001-seed2"]
    assert made.config.seeds == (0, 1) and made.now < 165 + 30
    assert made.record.plans[0].late == ("seed 2",)


def test_the_least_is_run_whatever_it_takes(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = unplanned(165, slow=lambda number: 50.0)
    made.run(monkeypatch)
    assert made.ran == ["lora-lr0.001-seed0", "full-lr0.0001-seed0"]
    assert made.config.arms == ("prompt", "full", "lora")
    assert made.record.plans[0].late[-1] == "lora+l2sp"


def test_a_plan_that_dropped_something_goes_on_in_its_order(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = unplanned(70, slow=lambda number: 1.5)
    planned = made.record.plans[0].dropped
    assert planned == ("seed 2", "seed 1", "the highest rates")
    made.run(monkeypatch)
    assert made.record.plans[0].late == ("the lowest rates",)
    assert made.record.plans[0].dropped == (*planned, "the lowest rates")
    assert len(made.ran) == 3


def test_a_study_that_goes_on_brings_nothing_back(
    unplanned: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = unplanned(165, slow=lambda number: 2.0)
    made.run(monkeypatch)
    again = unplanned(165, before=set(made.ran))
    again.run(monkeypatch)
    assert not again.ran and not again.warnings and again.record == made.record


def test_what_an_earlier_run_did_says_nothing_about_the_pace(unplanned: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three trainings of which nothing is left to do take no time; the others are twice as slow."""
    before = {"lora-lr0.001-seed0", "full-lr0.0001-seed0", "lora+l2sp-lr0.001-seed0"}
    made = unplanned(165, slow=lambda number: 2.0, before=before)
    made.run(monkeypatch)
    assert made.deadline.pace.factor == pytest.approx(2.0)
    assert len(made.ran) == 6 and made.record.plans[0].late == ("seed 2", "seed 1")


def test_what_has_begun_is_counted_by_its_time(unplanned: Make) -> None:
    made = unplanned(100, workers=2)
    deadline, recipe = made.deadline, made.config
    some = first(recipe)[-2:]
    assert all(deadline.wants(job) for job in some)
    assert deadline.pace.rest(recipe) == pytest.approx(150 / 2)
    made.now = 4.0
    assert deadline.pace.rest(recipe) == pytest.approx((150 - 8) / 2)
    made.now = 40.0  # no more than what they should have taken, as long as the pace is not known
    assert deadline.pace.rest(recipe) == pytest.approx((150 - 20) / 2)
    deadline.did(some[0], newly_done=True)
    assert deadline.pace.factor == pytest.approx(4.0)
    assert deadline.pace.rest(recipe) == pytest.approx((4 * 140 - 40) / 2)


def test_jobs_that_are_no_trainings_are_always_done(unplanned: Make) -> None:
    made = unplanned(165)
    made.now = 1e6
    lost = Trial(made.config.training_arms[-1], 1e-2, 0)
    assert made.deadline.wants(ScoreBase("orders", "test")) and made.deadline.wants(Train(lost, weights=True))
    assert not made.deadline.wants(Train(lost))


def test_sequences_lose_further_seeds(unplanned: Make) -> None:
    sequence = {"orders": [["a", "b"]], "arms": ["full", "lora"]}
    made = unplanned(10_000, recipe={"arms": ["prompt"], "sequence": sequence})
    chains = [
        TaskSequence(arm, ("a", "b"), seed, made.config.learning_rates(arm))
        for arm in made.config.sequence_arms
        for seed in (2, 1, 0)
    ]
    ordered = made.deadline.order(chains)
    assert [chain.seed for chain in ordered] == [0, 0, 1, 1, 2, 2]  # type: ignore[attr-defined]
    made.now = 1e6
    assert [made.deadline.wants(chain) for chain in ordered] == [True, True, False, False, False, False]
    assert made.config.seeds == (0,)


def test_a_search_that_is_cut_short_takes_nothing_away_that_was_trained(
    unplanned: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins when every rate of every arm is trained: to drop those saves nothing and loses what is there."""
    made = unplanned(1000, recipe={"arms": [*ARMS, "search"], "search": {"trainings": 12, "longer": 1}})
    before = made.config
    monkeypatch.setattr(Train, "perform", lambda job, study: study.train(job.trial))
    InProcess(made).run(first(before), made.deadline)  # type: ignore[arg-type]
    made.now = 950.0
    assert not made.deadline.wants(Explore(Trial(Arm.of("full+ewc:30", before), 1e-4, 0), 12))
    assert made.config.search.trainings < 12 and made.config.seeds == (0,)
    assert made.config.arms == before.arms
    assert made.config.method("full").learning_rates == before.method("full").learning_rates


def test_a_search_that_asks_for_no_more_leaves_its_time_to_others(
    unplanned: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"arms": [*ARMS, "search"], "search": {"trainings": 40, "longer": 1}, "seeds": [0, 1]}
    made = unplanned(1000, recipe=recipe)
    monkeypatch.setattr(Train, "perform", lambda job, study: study.train(job.trial))
    InProcess(made).run(first(made.config), made.deadline)  # type: ignore[arg-type]
    made.now = 900.0
    left = made.deadline.pace.rest(made.config)
    assert left > 400
    made.deadline.search_ended(2)
    assert made.deadline.pace.rest(made.config) < 100
    assert made.deadline.wants(Train(Trial(made.config.training_arms[0], 1e-3, 1)))
    assert made.config.seeds == (0, 1) and not made.warnings
