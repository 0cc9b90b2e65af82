"""A made-up tracker, registered from outside, watches a study through the public seam."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from keeptune.core.config import parse_recipe
from keeptune.core.records import StepRecord, Summary
from keeptune.recipe.config import StudyConfig
from keeptune.study.run import run_study
from keeptune.tracking.base import TRACKERS, ArmScores, Run, StudyRun, Tracker


class Notes(Tracker):
    """Notes what it is told, whichever object is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        everyone.append(self)

    def on_study_start(self, study: StudyRun) -> None:
        self.told.append(("study", study.folder.name, study.settings["seeds"]))

    def on_start(self, run: Run) -> None:
        self.told.append(("run", run.arm, run.lr, run.seed))

    def after_step(self, run: Run, record: StepRecord) -> None:
        self.told.append(record.step)

    def after_test(self, study: StudyRun, arm: ArmScores) -> None:
        self.told.append(arm)

    def on_study_end(self, study: StudyRun, summary: Summary) -> None:
        self.told.append(summary)


everyone: list[Notes] = []


@pytest.fixture
def recipe(
    tmp_path: Path, tiny_folder: Path, jsonl: Callable[..., Path], rows: Callable[..., Any], monkeypatch: Any
) -> StudyConfig:
    monkeypatch.setitem(TRACKERS._classes, "notes", Notes)
    everyone.clear()
    values = {
        "model": str(tiny_folder),
        "precision": "fp32",
        "target": {"data": str(jsonl(rows(80)))},
        "retain": [{"data": str(jsonl(rows(60, seed=1), "kept.jsonl")), "margin": 5, "name": "kept"}],
        "arms": ["prompt", "lora"],
        "seeds": [0, 1],
        "prompt": {"shots": [0]},
        "train": {"epochs": 1, "global_batch": 32},
        "lora": {"rank": 2, "learning_rates": [1e-3]},
        "validation_items": 20,
        "workers": 1,
        "trackers": ["notes"],
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def test_a_tracker_is_told_of_the_study_its_trainings_and_its_arms(recipe: StudyConfig, tmp_path: Path) -> None:
    summary = run_study(recipe, tmp_path / "run", console=Console(quiet=True))
    (notes,) = everyone
    told = notes.told
    assert told[0] == ("study", "run", [0, 1])
    assert [entry for entry in told if isinstance(entry, tuple)][1:] == [
        ("run", "lora", 1e-3, 0),
        ("run", "lora", 1e-3, 1),
    ]
    assert 1 in told  # a step
    arms = [entry for entry in told if isinstance(entry, ArmScores)]
    assert [(arm.arm, arm.seed) for arm in arms] == [("prompt", None), ("lora", 0), ("lora", 1)]
    table = {arm.name: arm.target.mean for arm in summary.arms}
    for arm in arms[:2]:
        assert list(arm.target.values()) == [pytest.approx(table[arm.name])]
        assert arm.folder.is_dir()
    assert arms[1].suites.keys() == {"kept"}
    assert told[-1] == summary
