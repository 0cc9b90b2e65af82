"""What a training left of its course, with the rows that it names by file and line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from keeptune.core.records import (
    Record,
    SkippedRecord,
    SpikeRecord,
    StepRecord,
    ValidationRecord,
    read_records,
)
from keeptune.data.examples import Example
from keeptune.evaluate.task import Task
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.trouble import Training
from keeptune.study.records import ScoredArm, Tuned
from keeptune.tracking.records import SKIPPED, SPIKES, STEPS, VALIDATION

NAMED = 3  # rows of a spike that are kept in the summary

R = TypeVar("R", bound=Record)


def courses(tuned: Iterable[Tuned], config: StudyConfig, tasks: Sequence[Task]) -> dict[str, Training]:
    """The trainings behind the first seed of every arm, by its name."""
    return {each.seeds[0].name: course(each.seeds[0], config.learning_rates(each.arm), tasks) for each in tuned}


def course(arm: ScoredArm, rates: Sequence[float], tasks: Sequence[Task]) -> Training:
    """The records of the training behind an arm; empty where it has no training of its own.

    Args:
        rates: all that were tried for it.
        tasks: whose train rows it may have seen.
    """
    spikes = _read(arm.folder / SPIKES, SpikeRecord)
    wanted = {row.id for spike in spikes for row in spike.rows[:NAMED]}
    places = _places(tasks, wanted) if wanted else {}
    return Training(
        lr=arm.record.lr or 0.0,
        rates=rates,
        steps=_read(arm.folder / STEPS, StepRecord),
        validation=_read(arm.folder / VALIDATION, ValidationRecord),
        skipped=_read(arm.folder / SKIPPED, SkippedRecord),
        spikes=[_placed(spike, places) for spike in spikes],
    )


def _read(path: Path, kind: type[R]) -> list[R]:
    return list(read_records(path, kind)) if path.is_file() else []


def _places(tasks: Iterable[Task], wanted: set[str]) -> dict[str, Example]:
    return {example.id: example for task in tasks for example in task.splits.train if example.id in wanted}


def _placed(spike: SpikeRecord, places: dict[str, Example]) -> SpikeRecord:
    """The rows with the largest losses, with where they came from."""
    rows = [
        row.model_copy(update={"path": places[row.id].path, "line": places[row.id].line}) if row.id in places else row
        for row in spike.rows[:NAMED]
    ]
    return spike.model_copy(update={"rows": tuple(rows)})
