"""What the trackers of a recipe are told of the study as a whole; of trainings, `fit` tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keeptune.core.records import ItemRecord, Summary
from keeptune.study.records import ScoredArm
from keeptune.study.workplace import Workplace
from keeptune.tracking.base import ArmScores, StudyRun, Tracker


@dataclass(frozen=True)
class Watching:
    """The trackers of the process that runs the study."""

    study: StudyRun
    trackers: Sequence[Tracker]

    @classmethod
    def of(cls, workplace: Workplace) -> Watching:
        """Those of the place of work."""
        settings = workplace.config.model_dump(mode="json")
        return cls(StudyRun(workplace.ledger.folder, settings), workplace.trackers)

    def start(self) -> None:
        """The study begins."""
        for tracker in self.trackers:
            tracker.on_study_start(self.study)

    def tested(self, arms: Iterable[ScoredArm]) -> None:
        """These arms are scored on test items."""
        for arm in arms:
            for tracker in self.trackers:
                tracker.after_test(self.study, arm_scores(arm))

    def end(self, summary: Summary) -> None:
        """The study has its result."""
        for tracker in self.trackers:
            tracker.on_study_end(self.study, summary)


def arm_scores(arm: ScoredArm) -> ArmScores:
    """Means over an arm's test items."""
    record = arm.record
    return ArmScores(
        name=record.name,
        arm=record.arm or record.family,
        folder=arm.folder,
        lr=record.lr,
        seed=record.seed,
        target=_means(arm.target),
        suites=_means(arm.suites),
    )


def _means(items: Mapping[str, Sequence[ItemRecord]]) -> dict[str, float]:
    return {
        name: float(np.average([item.score for item in scored], weights=[item.weight for item in scored]))
        for name, scored in items.items()
    }
