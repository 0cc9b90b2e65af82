"""What a training and a study tell those who watch them, and the registry of the trackers that a recipe can name.

A tracker is a class in a file of its own, registered under the name that recipes list below ``trackers``. It is made
without arguments, once in every process that trains:

    @TRACKERS.register("lines")
    class Lines(Tracker):
        def after_step(self, run: Run, record: StepRecord) -> None:
            print(run.label, record.step, record.loss)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from keeptune.core.records import SkippedRecord, SpikeRecord, StepRecord, Summary, ValidationRecord
from keeptune.core.registry import Registry
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel


@dataclass(frozen=True)
class Run:
    """What a callback is told about the training that it watches."""

    lm: LanguageModel
    method: Method  # that the model is adapted by
    folder: Path
    steps: int  # planned optimiser steps
    arm: str = ""  # as the recipe names it
    lr: float = 0.0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)  # of training, as JSON

    @property
    def label(self) -> str:
        """The arm, or the method where there is no arm."""
        return self.arm or self.method.describe()


class Callback:
    """Base of all callbacks: every hook does nothing. An absent feature is an absent object.

    Where several processes train one model, callbacks are called in each of them. One that remembers something which a
    training must have when it goes on after an interruption is `train.stateful.Stateful`, too.

    Example:
        >>> class Losses(Callback):
        ...     def __init__(self):
        ...         self.seen = []
        ...     def after_step(self, run, record):
        ...         self.seen.append(record.loss)
        >>> losses = Losses()
        >>> config = TrainConfig(max_steps=2)
        >>> result = fit(lm, LoraConfig().build(), rows, [], config, folder, lr=1e-3, hooks=[losses])
        >>> len(losses.seen)
        2
    """

    def on_start(self, run: Run) -> None:
        """Before the first step."""

    def after_step(self, run: Run, record: StepRecord) -> None:
        """After every optimiser step."""

    def after_skip(self, run: Run, record: SkippedRecord) -> None:
        """After a step that changed nothing, because its loss or gradient was not finite."""

    def after_spike(self, run: Run, record: SpikeRecord) -> None:
        """After a step whose loss stood out, told after the step itself."""

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        """After every validation."""

    def on_end(self, run: Run) -> None:
        """After the last step, also when training diverged or was interrupted."""


@dataclass(frozen=True)
class StudyRun:
    """What a tracker is told about the study that it watches."""

    folder: Path
    settings: Mapping[str, Any]  # the recipe, as JSON


@dataclass(frozen=True)
class ArmScores:
    """What an arm scored on test items: a model with one seed, or the base with demonstrations."""

    name: str  # of the arm's folder: "prompt-4shot", "lora-lr0.003-seed0"
    arm: str  # as the recipe names it: "lora+replay:5%"
    folder: Path
    lr: float | None
    seed: int | None
    target: Mapping[str, float]  # task -> score
    suites: Mapping[str, float]  # retained suite -> score


class Tracker(Callback):
    """Writes down or shows what happens, and changes nothing of it. Every hook does nothing.

    One object watches one training after another. Where several processes train one model, only the main one's
    trackers are called. The hooks of the study are called in the process that runs it; where trainings run in other
    processes, the objects there are told of the trainings and not of the study.

    Example:
        >>> @TRACKERS.register("announce")
        ... class Announce(Tracker):
        ...     def after_test(self, study, arm):
        ...         print(arm.name, arm.target)
        >>> "announce" in TRACKERS  # a recipe may say trackers: [announce]
        True
    """

    name: ClassVar[str]  # in recipes; set by the registry

    @classmethod
    def check(cls) -> None:
        """Refuse, before a study begins, what could never work: a package that is not installed.

        Raises:
            MissingExtra: it is not.
        """

    def on_study_start(self, study: StudyRun) -> None:
        """Before the base is scored."""

    def after_test(self, study: StudyRun, arm: ArmScores) -> None:
        """An arm was scored on test items. A study that goes on also tells of those that were scored before."""

    def on_study_end(self, study: StudyRun, summary: Summary) -> None:
        """The study came to its result; summary.json and report.html are written."""


TRACKERS: Registry[Tracker] = Registry("tracker", "keeptune.tracking")
ALWAYS = ("console", "records")  # that a study has without naming them
