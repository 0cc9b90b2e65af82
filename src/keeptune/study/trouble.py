"""What a training left of its course, with the rows that it names by file and line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from keeptune.core.records import (
    Record,
    RowLoss,
    SkippedRecord,
    SpikeRecord,
    StepRecord,
    ValidationRecord,
    read_json,
    read_records,
)
from keeptune.data.examples import Encoded, Example
from keeptune.evaluate.task import Task
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.trouble import Training
from keeptune.study.records import ScoredArm, TrialRecord, Tuned
from keeptune.tracking.records import SKIPPED, SPIKES, STEPS, VALIDATION

TRIAL = "trial.json"
NAMED = 3  # rows of a spike, and of a checkpoint, that are kept in the summary

R = TypeVar("R", bound=Record)


def courses(tuned: Iterable[Tuned], config: StudyConfig, tasks: Sequence[Task]) -> dict[str, Training]:
    """The trainings behind the first seed of every arm, by its name."""
    return {each.seeds[0].name: course(each.seeds[0], config.learning_rates(each.arm), tasks) for each in tuned}


def course(arm: ScoredArm, rates: Sequence[float], tasks: Sequence[Task]) -> Training:
    """The records of the training behind an arm; empty where it has no training of its own.

    Args:
        rates: all that were tried for it.
        tasks: whose rows it was trained and validated on.
    """
    spikes = _read(arm.folder / SPIKES, SpikeRecord)
    trial = read_json(arm.folder / TRIAL, TrialRecord) if (arm.folder / TRIAL).is_file() else None
    least_likely = trial.hardest if trial else ()
    wanted = {row.id for rows in (least_likely, *(spike.rows[:NAMED] for spike in spikes)) for row in rows}
    places = _places(tasks, wanted) if wanted else {}
    return Training(
        lr=arm.record.lr or 0.0,
        rates=rates,
        steps=_read(arm.folder / STEPS, StepRecord),
        validation=_read(arm.folder / VALIDATION, ValidationRecord),
        skipped=_read(arm.folder / SKIPPED, SkippedRecord),
        spikes=[spike.model_copy(update={"rows": _placed(spike.rows[:NAMED], places)}) for spike in spikes],
        hardest=_placed(least_likely, places),
    )


def hardest(rows: Sequence[Encoded], nats: Sequence[float]) -> tuple[RowLoss, ...]:
    """The rows that a model finds least likely, by their loss per trained token, the largest first.

    Args:
        nats: of every row.
    """
    losses = [RowLoss(id=row.id, loss=loss / row.trained) for row, loss in zip(rows, nats, strict=True)]
    return tuple(sorted(losses, key=lambda each: -each.loss)[:NAMED])


def _read(path: Path, kind: type[R]) -> list[R]:
    return list(read_records(path, kind)) if path.is_file() else []


def _places(tasks: Iterable[Task], wanted: set[str]) -> dict[str, Example]:
    rows = (example for task in tasks for part in (task.splits.train, task.splits.validation) for example in part)
    return {example.id: example for example in rows if example.id in wanted}


def _placed(rows: Sequence[RowLoss], places: dict[str, Example]) -> tuple[RowLoss, ...]:
    """The rows with where they came from."""
    return tuple(
        row.model_copy(update={"path": places[row.id].path, "line": places[row.id].line}) if row.id in places else row
        for row in rows
    )
