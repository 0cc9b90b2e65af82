"""What a job owes the one that comes next, where several processes do both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from planned import config
from typing_extensions import override

from keeptune.launch.world import World
from keeptune.recipe.arms import Arm
from keeptune.study.jobs import train
from keeptune.study.jobs.train import Train
from keeptune.study.trial import Trial


@dataclass(frozen=True)
class Waiting(World):
    """Notes whether the training's record is there when a process waits for the others."""

    record: Path = Path()
    found: list[bool] = field(default_factory=list)

    @override
    def wait(self) -> None:
        self.found.append(self.record.is_file())


@pytest.mark.parametrize("main", [True, False])
def test_no_process_leaves_a_training_before_its_record_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: bool
) -> None:
    """A search goes on in the same job: it reads the record of what it has just trained."""
    done: Any = SimpleNamespace(validation=SimpleNamespace(score=0.5))
    monkeypatch.setattr(train, "_train", lambda workplace, trial: done)
    monkeypatch.setattr(train, "write_json", lambda path, record: path.touch())
    ledger: Any = SimpleNamespace(
        writes=main, trial_folder=lambda trial: tmp_path, weights=lambda trial: tmp_path, has_trial=lambda trial: False
    )
    ledger.at_margins = lambda margins: ledger
    world = Waiting(size=2, rank=0 if main else 1, record=tmp_path / "trial.json")
    workplace: Any = SimpleNamespace(
        ledger=ledger, world=world, messages=SimpleNamespace(say=print), baseline=SimpleNamespace(margins={})
    )
    assert Train(Trial(Arm.of("lora", config()), 1e-3, 0)).perform(workplace)
    assert world.found == [main]
