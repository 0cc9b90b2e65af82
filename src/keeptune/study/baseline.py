"""The base as later models are compared with it: measured by one job, written down, and read by all others.

`base/` in the run's folder holds the items of every retained suite, so that a run can be audited by itself, and the
base's predictions at some positions of the target (see `train.drift`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keeptune.core.records import ItemRecord, Part, read_records, write_json, write_records
from keeptune.data.examples import Encoded
from keeptune.evaluate.task import Task
from keeptune.retention.change import change_of
from keeptune.retention.pairs import pair
from keeptune.retention.skill import Skill, skill_of
from keeptune.study.ledger import Ledger
from keeptune.study.records import KeyedRecord, SuiteScores, ValidationScores, finished
from keeptune.study.scorer import Scorer
from keeptune.train.drift import DriftBase

Floats = NDArray[np.float64]

FOLDER = "base"
PARTS: tuple[Part, ...] = ("validation", "test")


class BaselineRecord(KeyedRecord):
    """baseline.json: the base was measured, and everything beside this file is about it."""

    suites: tuple[str, ...]


@dataclass(frozen=True)
class Baseline:
    """What the base scored and predicted."""

    targets: Mapping[str, Sequence[ItemRecord]]  # validation items of every target
    validation: Mapping[str, Sequence[ItemRecord]]  # of every retained suite
    test: Mapping[str, Sequence[ItemRecord]]  # test items of every retained suite
    skills: tuple[Skill, ...]  # the suites that can lose something, with their margins, by the validation items
    drift: DriftBase

    @property
    def target_scores(self) -> Floats:
        """Score of every validation item of the targets, in the order of `ValidationScores` [N]."""
        return np.array([item.score for items in self.targets.values() for item in items])

    @property
    def margins(self) -> dict[str, float]:
        """Margin of every suite that can lose something."""
        return {skill.suite.name: skill.suite.required_margin for skill in self.skills}

    @property
    def target_clusters(self) -> list[str]:
        """Cluster of every validation item of the targets, in the same order."""
        return [f"{task}/{item.cluster}" for task, items in self.targets.items() for item in items]

    @classmethod
    def read(cls, ledger: Ledger, suites: Sequence[Task], rows: Sequence[Encoded]) -> Baseline:
        """What `measure` left.

        Args:
            ledger: of the study.
            suites: the retained ones.
            rows: validation rows of the targets, where the base's predictions were taken.

        Raises:
            RuntimeError: it was not measured, which is a mistake in the order of jobs.
        """
        folder = ledger.folder / FOLDER
        if finished(folder / "baseline.json", BaselineRecord, ledger.test_key(FOLDER)) is None:
            raise RuntimeError(f"{folder} does not hold the baseline of this study")
        validation, test = ({each.name: _items(folder, part, each.name) for each in suites} for part in PARTS)
        skills = (skill_of(suite.suite(), validation[suite.name]) for suite in suites)
        return cls(
            targets={task: _items(folder, "validation", task) for task in ledger.targets},
            validation=validation,
            test=test,
            skills=tuple(skill for skill in skills if skill.measurable),
            drift=DriftBase.read(folder / "drift.safetensors", rows),
        )


def measure(ledger: Ledger, scorer: Scorer, rows: Sequence[Encoded]) -> bool:
    """Score the base on every retained suite and keep its predictions at positions of ``rows``.

    Returns False where that was done before.
    """
    folder, key = ledger.folder / FOLDER, ledger.test_key(FOLDER)
    if finished(folder / "baseline.json", BaselineRecord, key):
        return False
    for part in PARTS:
        for task in (*scorer.suites, *(scorer.targets if part == "validation" else ())):
            items = scorer.evaluate(task, part).items
            if ledger.writes:
                write_records(folder / part / f"{task}.jsonl", items)
    if not ledger.writes:
        return True
    DriftBase.of(scorer.lm, rows).write(folder / "drift.safetensors")
    write_json(folder / "baseline.json", BaselineRecord(key=key, suites=tuple(scorer.suites)))
    return True


def _items(folder: Path, part: Part, suite: str) -> tuple[ItemRecord, ...]:
    return tuple(read_records(folder / part / f"{suite}.jsonl", ItemRecord))


def score_on_validation(scorer: Scorer, baseline: Baseline) -> ValidationScores:
    """The scorer's model on the validation items of all targets and of the suites that can lose something."""
    runs = [scorer.evaluate(task, "validation") for task in scorer.targets]
    return ValidationScores(
        target=tuple(item.score for run in runs for item in run.items),
        suites=tuple(_look_at_suite(scorer, baseline, skill) for skill in baseline.skills),
    )


def _look_at_suite(scorer: Scorer, baseline: Baseline, skill: Skill) -> SuiteScores:
    name = skill.suite.name
    scores = pair(baseline.validation[name], scorer.evaluate(name, "validation").items)
    change = change_of(skill.suite, scores)
    return SuiteScores(
        suite=name,
        margin=skill.suite.required_margin,
        change=change.estimate,
        error=change.se,
        scores=tuple(scores.after.tolist()),
    )
