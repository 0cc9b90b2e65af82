"""Jobs that are broken off in the middle and done again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ResourceError
from keeptune.core.records import Summary, read_json
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs import sequence
from keeptune.study.jobs.baseline import MeasureBaseline
from keeptune.study.jobs.train import Train
from keeptune.study.messages import Messages
from keeptune.study.records import TrialRecord
from keeptune.study.run import open_study, run_study
from keeptune.study.schedule.processes import TRIES, Processes, _Died
from keeptune.study.schedule.runner import Everything
from keeptune.study.trial import Trial
from keeptune.train import loop

Recipe = Callable[..., dict[str, Any]]


class BrokenOff(BaseException):
    """What SIGKILL is to a process."""


class Breaking:
    """A function that ends the program at one of its calls."""

    def __init__(self, real: Callable[..., Any], *at: int, after: bool = False) -> None:
        self.real, self.at, self.after, self.calls = real, at, after, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls in self.at and not self.after:
            raise BrokenOff
        made = self.real(*given, **named)
        if self.calls in self.at:
            raise BrokenOff
        return made


def config(values: dict[str, Any]) -> StudyConfig:
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def test_a_sequence_goes_on_where_it_was(
    data: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off in trainings, between rates, and while a stage is scored; no training is done twice."""
    values = recipe(
        target=[{"data": f"{name}.jsonl", "metric": "exact_match", "max_new_tokens": 4} for name in ("colour", "kept")],
        retain="none",
        arms=["prompt"],
        sequence={"orders": [["colour", "kept"]], "arms": ["full", "lora"]},
        train={"max_steps": 8, "global_batch": 8, "checkpoint_every": 2},
        lora={"rank": 2, "learning_rates": [1e-3, 1e-2]},
        seeds=[0],
        workers=1,
    )

    def study(name: str) -> Summary:
        return run_study(config(values), tmp_path / name, console=Console(quiet=True), data_root=data)

    steps = Breaking(loop.train_step)
    monkeypatch.setattr(loop, "train_step", steps)
    whole, taken = study("whole").sequences, steps.calls
    assert taken == 2 * 2 * 2 * 8  # arms, stages, rates, steps
    steps.calls, steps.at = 0, (5, 21, 45)
    scored = Breaking(sequence._score, 3)
    monkeypatch.setattr(sequence, "_score", scored)
    fits = Breaking(sequence.fit, 3, after=True)  # trained and not scored
    monkeypatch.setattr(sequence, "fit", fits)
    for _ in range(5):
        with pytest.raises(BrokenOff):
            study("broken")
    assert study("broken").sequences == whole
    assert steps.calls <= taken + 3 * 2 + 2  # but for steps since the checkpoint before
    assert not list((tmp_path / "broken" / "sequences").glob("*/stage-*"))


def test_a_training_keeps_its_points_of_the_frontier(
    data: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, records = recipe(workers=1, seeds=[0], arms=["full+guard", "lora"], checkpoints=True), []
    for name, at in (("whole", ()), ("broken", (25, 60))):
        _, workplace = open_study(config(values), tmp_path / name, Messages(Console(quiet=True)), data)
        MeasureBaseline().perform(workplace)
        arm = workplace.config.training_arms[1]
        with monkeypatch.context() as patch:
            patch.setattr(loop, "train_step", Breaking(loop.train_step, *at))
            for _ in at:
                with pytest.raises(BrokenOff):
                    Train(Trial(arm, 1e-3, 0)).perform(workplace)
            Train(Trial(arm, 1e-3, 0)).perform(workplace)
        folder = workplace.ledger.trial_folder(Trial(arm, 1e-3, 0))
        assert not (folder / "checkpoints").exists()
        records.append(read_json(folder / "trial.json", TrialRecord))
    whole, broken = records
    assert len(whole.checkpoints) == 3
    assert broken.costs.train_tokens == whole.costs.train_tokens
    assert broken.model_copy(update={"costs": whole.costs}) == whole


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    values = recipe(arms=["full"], seeds=[0], retain="none")
    records = []
    for name in ("whole", "killed"):
        prepared, workplace = open_study(config(values), tmp_path / name, Messages(Console(quiet=True)), data)
        MeasureBaseline().perform(workplace)
        runner, trial = Processes(prepared, workplace.messages, 1), Trial(workplace.config.training_arms[0], 1e-3, 0)
        folder = workplace.ledger.trial_folder(trial)

        def kill(folder: Path = folder, runner: Processes = runner) -> None:
            while not list(folder.glob("checkpoints/step-*")):
                time.sleep(0.01)
            os.kill(runner._processes[0].process.pid or 0, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        if name == "killed":
            killer.start()
        try:
            runner.run([Train(trial)], Everything(prepared.config))
        finally:
            runner.close()
        records.append(read_json(folder / "trial.json", TrialRecord))
    assert any(
        "its worker process ended (SIGKILL: memory may have run out)" in line for line in workplace.messages.lines
    )
    assert records[1].model_copy(update={"costs": records[0].costs}) == records[0]


def test_a_job_that_takes_down_every_worker_ends_the_study(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    prepared, workplace = open_study(config(recipe()), tmp_path / "run", Messages(Console(quiet=True)), data)
    runner, job = Processes(prepared, workplace.messages, 2), MeasureBaseline()
    worker: Any = object()
    for _ in range(TRIES - 1):
        runner._processes.append(worker)
        runner._lost(worker, job, _Died("exit code 3"))
    runner._processes.append(worker)
    with pytest.raises(ResourceError, match=r"baseline: 3 worker processes .*\(exit code 3\) -> .*workers: 1"):
        runner._lost(worker, job, _Died("exit code 3"))
