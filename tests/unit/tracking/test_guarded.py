from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from told import tell

from keeptune.core.records import StepRecord
from keeptune.tracking.base import Run, StudyRun, Tracker
from keeptune.tracking.guarded import Guarded


class Failing(Tracker):
    name = "failing"
    steps: ClassVar[list[int]] = []

    def after_step(self, run: Run, record: StepRecord) -> None:
        self.steps.append(record.step)
        if record.step == 2:
            raise ConnectionError("no server at 127.0.0.1\nand more")


class NeverMade(Tracker):
    name = "never-made"

    def __init__(self) -> None:
        raise RuntimeError


class Impatient(Tracker):
    def on_study_start(self, study: StudyRun) -> None:
        raise KeyboardInterrupt


def test_it_is_left_out_once_it_failed_and_that_is_said_once(tmp_path: Path) -> None:
    Failing.steps.clear()
    said: list[str] = []
    tracker = Guarded(Failing, said.append)
    tell(tracker, tracker, tmp_path)
    assert Failing.steps == [1, 2]
    assert said == ["the tracker failing failed and is left out: no server at 127.0.0.1"]


def test_one_that_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    tracker = Guarded(NeverMade, said.append)
    tell(tracker, tracker, tmp_path)
    assert said == ["the tracker never-made failed and is left out: RuntimeError"]


def test_an_interrupt_goes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Guarded(Impatient, print).on_study_start(StudyRun(tmp_path, {}))


def test_every_hook_is_passed_on() -> None:
    hooks = {name for name in vars(Tracker) | vars(Tracker.__mro__[1]) if name.startswith(("on_", "after_"))}
    assert hooks <= vars(Guarded).keys()
