"""The line of a whole study: what a recipe comes to, and what it says while jobs are done."""

from __future__ import annotations

import io
import logging

import pytest
from planned import config, estimates
from rich.console import Console

from keeptune.study.jobs.base import Amount, Job
from keeptune.study.jobs.baseline import ScoreBase
from keeptune.study.jobs.explore import Explore
from keeptune.study.jobs.test import ScoreTest, TrainAndTest
from keeptune.study.jobs.train import Train
from keeptune.study.schedule.pace import Pace
from keeptune.study.schedule.runner import Everything
from keeptune.study.schedule.total import Total, expected
from keeptune.study.trial import Trial


def test_what_a_recipe_comes_to_is_what_its_plan_has() -> None:
    """Three arms with three rates and two further seeds, and two points of a learning curve."""
    recipe = config()
    trials = sum(estimates().arm(recipe, arm)[0] for arm in recipe.training_arms)
    assert expected(recipe, ["orders"], rows=1000) == Amount(trials, 3 * 3 + 2) == Amount(17, 11)
    assert expected(recipe, ["orders"], rows=60) == Amount(16, 10)


def test_a_search_and_a_sequence_count_as_the_plan_counts_them() -> None:
    searched = config(arms=["prompt", "full", "search"], curve=None, seeds=[0, 1], search={"trainings": 7})
    assert expected(searched, ["orders"]) == Amount(4 + 7 + 1, 2 + 2)
    assert expected(searched, ["orders"], searched=3) == Amount(4 + 3, 2)
    two = [{"task": "builtin:orders"}, {"task": "builtin:counting"}]
    turns = config(target=two, arms=["prompt"], curve=None, seeds=[0], sequence={"arms": ["lora"]})
    assert expected(turns, ["orders", "counting"]) == Amount(2 * 3, 3)


def test_every_kind_of_job_says_what_it_is() -> None:
    arm = config().training_arms[0]
    trial = Trial(arm, 1e-3, 0)
    amounts = [
        each.amount
        for each in (
            ScoreBase("orders", "test"),
            Train(trial),
            Train(trial, weights=True),
            ScoreTest(trial, arm),
            TrainAndTest(trial, arm),
            Explore(trial, 1),
        )
    ]
    assert amounts == [Amount(0, 1), Amount(1, 0), Amount(0, 0), Amount(0, 1), Amount(1, 1), Amount(1, 0)]


def test_the_line_counts_what_is_done_and_says_what_is_left(caplog: pytest.LogCaptureFixture) -> None:
    recipe = config(arms=["prompt", "full"], curve=None, seeds=[0])  # three rates of 10 s each
    now = 0.0
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    total = Total(Everything(recipe), console, Amount(0, 1), ["orders"])
    (arm,) = recipe.training_arms
    jobs: list[Job] = [Train(Trial(arm, lr, 0)) for lr in recipe.learning_rates(arm)]
    caplog.set_level(logging.INFO, logger="keeptune")
    with total.showing():
        base = ScoreBase("orders", "test")
        assert list(total.order([base])) == [base] and total.wants(base)
        assert total._left() is None
        total.did(base, newly_done=True)
        total.go_by(Everything(recipe, Pace(estimates(), 1, lambda: now)))
        assert total._left() == pytest.approx(30)
        assert total.wants(jobs[0])
        now = 20.0  # twice as long as planned
        total.did(jobs[0], newly_done=True)
        assert total._left() == pytest.approx(40)
        (line,) = total._bars.tasks
        assert line.fields["note"] == "1 of 3 trainings, 1 of 2 tests" and (line.completed, line.total) == (2, 5)
    assert caplog.messages[-1] == f"{jobs[0].name}: done; 1 of 3 trainings, 1 of 2 tests"


def test_what_was_not_expected_raises_the_total() -> None:
    recipe = config(arms=["prompt", "full"], curve=None, seeds=[0])
    total = Total(Everything(recipe), Console(file=io.StringIO()), Amount(), ["orders"])
    (arm,) = recipe.training_arms
    with total.showing():
        for lr in (1e-6, 1e-5, 1e-4, 1e-3):
            job = Train(Trial(arm, lr, 0))
            assert total.wants(job)
            total.did(job, newly_done=False)
        assert total._bars.tasks[0].fields["note"] == "4 of 4 trainings, 0 of 1 tests"
