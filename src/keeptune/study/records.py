"""What jobs leave on disk: trainings, sweeps and arms with every item they answered. What is finished is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from keeptune.core.errors import DataError
from keeptune.core.records import (
    PROMPTING,
    ArmParts,
    Costs,
    Drift,
    ItemRecord,
    Record,
    RowLoss,
    SearchSummary,
    read_json,
    read_records,
    write_json,
    write_records,
)
from keeptune.recipe.arms import Arm


class KeyedRecord(Record):
    """A record that holds under one key: a content hash of everything that it depends on."""

    key: str


class ArmRecord(KeyedRecord):
    """arm.json: all about an arm but its items."""

    name: str
    label: str  # as people read it
    family: str  # "prompt" or the method's name
    costs: Costs
    arm: str = ""  # as the recipe names it
    parts: ArmParts | None = None  # of an arm that trains
    title: str = ""  # the label without the rate
    lr: float | None = None
    seed: int | None = None
    shots: int | None = None
    alpha: float | None = None  # interpolated: the share of the way from the base to the tuned model
    examples: int | None = None  # training rows
    drift: Drift | None = None
    note: str | None = None

    @property
    def prompting(self) -> bool:
        """The base model as it is, with demonstrations or without."""
        return self.family == PROMPTING


class SuiteScores(Record):
    """A retained suite under a model, validation items: the change and how sure it is."""

    suite: str
    margin: float
    change: float  # positive is better; relative for bits per byte
    error: float  # standard error of the change
    scores: tuple[float, ...]  # of every validation item, in the order of the base's

    @property
    def kept(self) -> bool:
        """The loss is within the margin even if the change is a standard error worse than it looks."""
        return self.change - self.error >= -self.margin

    @property
    def may_be_kept(self) -> bool:
        """The loss as it was seen is within the margin."""
        return self.change >= -self.margin


class ValidationScores(Record):
    """A model on validation items: all that choices are made of."""

    target: tuple[float, ...]  # score of every item of all targets, the same items for all models
    suites: tuple[SuiteScores, ...]  # those that can lose something

    @property
    def score(self) -> float:
        """Mean target score."""
        return sum(self.target) / len(self.target)

    @property
    def tier(self) -> int:
        """0: every suite is kept, a standard error allowed for; 1: as it was seen; 2: one lost more than its margin."""
        if all(suite.kept for suite in self.suites):
            return 0
        return 1 if all(suite.may_be_kept for suite in self.suites) else 2

    @property
    def room(self) -> float:
        """Smallest change in margins: -1 is a loss of a whole margin; 0 without suites."""
        return min((suite.change / suite.margin for suite in self.suites), default=0.0)

    def at_margins(self, margins: Mapping[str, float]) -> ValidationScores:
        """The same scores where other losses are allowed, by suite."""
        suites = (suite.model_copy(update={"margin": margins[suite.suite]}) for suite in self.suites)
        return self.model_copy(update={"suites": tuple(suites)})


class Checkpoint(Record):
    """A model on the way of a training."""

    step: int
    validation_loss: float
    validation: ValidationScores
    drift: Drift | None = None


class TrialRecord(KeyedRecord):
    """trial.json: one rate of one arm, trained, and scored on validation items."""

    name: str
    arm: str  # as the recipe names it
    label: str
    method: str
    lr: float
    seed: int
    examples: int  # training rows
    validation: ValidationScores
    row_losses: tuple[float, ...] = ()  # nats of every validation row of the targets; the same rows in all trials
    hardest: tuple[RowLoss, ...] = ()  # of these rows, the largest loss per trained token first
    validation_loss: float | None
    diverged: bool
    skipped: int = 0  # steps without an update, because loss or gradient was not finite
    best_step: int
    steps: int
    costs: Costs
    drift: Drift | None = None
    checkpoints: tuple[Checkpoint, ...] = ()  # on the way

    def at_margins(self, margins: Mapping[str, float]) -> TrialRecord:
        """The same training where other losses are allowed."""
        return self.model_copy(
            update={
                "validation": self.validation.at_margins(margins),
                "checkpoints": tuple(
                    each.model_copy(update={"validation": each.validation.at_margins(margins)})
                    for each in self.checkpoints
                ),
            }
        )


class SweepPoint(Record):
    """A model between the base and a tuned one, on validation items."""

    alpha: float  # 0 is the base, 1 the tuned model
    validation: ValidationScores
    row_losses: tuple[float, ...] = ()  # as in the trial
    drift: Drift | None = None


class SweepRecord(KeyedRecord):
    """sweep.json: the way from the base to a trial's model."""

    points: tuple[SweepPoint, ...]

    def at_margins(self, margins: Mapping[str, float]) -> SweepRecord:
        """The same points where other losses are allowed."""
        points = (p.model_copy(update={"validation": p.validation.at_margins(margins)}) for p in self.points)
        return self.model_copy(update={"points": tuple(points)})


class SearchRecord(KeyedRecord):
    """search.json in the run's folder."""

    search: SearchSummary


class TextsRecord(KeyedRecord):
    """texts-seed0.json: rows that the base wrote itself: (id, ids of the prompt, ids of what was written)."""

    rows: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


@dataclass(frozen=True)
class ScoredArm:
    """An arm with its test items, by task and by retained suite."""

    record: ArmRecord
    folder: Path
    target: Mapping[str, Sequence[ItemRecord]]
    suites: Mapping[str, Sequence[ItemRecord]]
    extras: Mapping[str, Sequence[ItemRecord]] = field(default_factory=dict)  # other wordings, tasks held out

    @property
    def name(self) -> str:
        """Name of the arm, also of its folder."""
        return self.record.name

    def pooled(self) -> list[ItemRecord]:
        """The target items of all tasks; ids carry the task, because two tasks may hold the same row."""
        if len(self.target) == 1:
            return list(next(iter(self.target.values())))
        return [
            item.model_copy(update={"id": f"{task}/{item.id}", "cluster": f"{task}/{item.cluster}"})
            for task, items in self.target.items()
            for item in items
        ]


@dataclass(frozen=True)
class ExtraEvaluation:
    """Test items that are scored beside target and suites: other wordings, or a task that nobody is trained on."""

    name: str
    task: str
    wording: Literal["fixed", "each", "unseen"] = "fixed"


@dataclass(frozen=True)
class Tuned:
    """One arm of the recipe: the chosen rate's arm for every seed, the first seed first."""

    arm: Arm
    seeds: Sequence[ScoredArm]
    sweep_tokens: int = 0  # of all trainings that it took to choose the rate


Curve = Sequence[tuple[int, ScoredArm]]  # training examples and the arm that they made, in the order of the examples


def save_arm(arm: ScoredArm) -> None:
    """Write items first and arm.json last: an arm without arm.json was interrupted and runs again."""
    for name, items in {**arm.target, **arm.suites, **arm.extras}.items():
        write_records(arm.folder / "items" / f"{name}.jsonl", items)
    write_json(arm.folder / "arm.json", arm.record)


def finished_arm(
    folder: Path, key: str, tasks: Sequence[str], suites: Sequence[str] = (), extras: Sequence[str] = ()
) -> ScoredArm | None:
    """The arm of a folder, if it finished under the same key."""
    record = finished(folder / "arm.json", ArmRecord, key)
    if record is None:
        return None
    try:
        return ScoredArm(
            record, folder, *({name: _items(folder, name) for name in names} for names in (tasks, suites, extras))
        )
    except (DataError, FileNotFoundError):
        return None


def _items(folder: Path, name: str) -> tuple[ItemRecord, ...]:
    return tuple(read_records(folder / "items" / f"{name}.jsonl", ItemRecord))


K = TypeVar("K", bound=KeyedRecord)


def finished(path: Path, kind: type[K], key: str) -> K | None:
    """The record of a file, if it was written under the same key."""
    try:
        record = read_json(path, kind)
    except DataError:
        return None
    return record if record.key == key else None


def required(path: Path, kind: type[K], key: str) -> K:
    """The record of a job that was done before.

    Raises:
        RuntimeError: it was not, which is a mistake in the order of jobs.
    """
    record = finished(path, kind, key)
    if record is None:
        raise RuntimeError(f"{path.parent.name} has no {path.name} under this key")
    return record
