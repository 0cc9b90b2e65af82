"""What trackers of a service have in common: a study is a run, and every arm is a run below it.

The trainings of a study may be watched in other processes than the study itself. What connects them is on disk: the
folder of a study, and of an arm, holds the id of its run, so that any process finds it, and a study that goes on adds
to the runs that it began.
"""

from __future__ import annotations

import csv
import importlib.util
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from typing_extensions import override

from keeptune.core.errors import MissingExtra
from keeptune.core.files import write_whole
from keeptune.core.records import StepRecord, Summary, ValidationRecord
from keeptune.report.tables import Row, arm_rows, suite_rows
from keeptune.tracking.base import ArmScores, Run, StudyRun, Tracker

STATED = ("model", "arms", "seeds", "precision", "quantise", "overlong", "validation_items", "test_items")
FILES = ("summary.json", "report.html", "recipe.json")  # of a run folder, that a study's run gets


class Service(Protocol):
    """One run of a service, open. It is closed by `close`, and opened again by the id that it has."""

    id: str

    def params(self, values: Mapping[str, object]) -> None:
        """Settings, once for a new run."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers, after an optimiser step or at the end."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Words: verdicts, the recommendation."""

    def files(self, paths: Sequence[Path]) -> None:
        """Files to keep with the run."""

    def close(self) -> None:
        """Everything is written."""


@dataclass(frozen=True)
class Opened:
    """Which run a tracker wants."""

    study: Path  # folder of the study
    name: str  # "demo", "lora-lr0.003-seed0"
    kind: Literal["study", "arm"]
    id: str | None  # of the run, where there was one
    parent: str | None  # of the study's run, for an arm


S = TypeVar("S", bound=Service)


class ServiceTracker(Tracker, Generic[S]):
    """Tells a service of a study; a subclass says how a run is opened.

    Step metrics are called train/…, validation/loss, those on test items test/<task>, and the changes of retained
    suites retained/<suite>; verdicts are tags.
    """

    package: ClassVar[str]  # that the service needs; keeptune has an extra of this name for it

    def __init__(self) -> None:
        self._training: S | None = None

    @classmethod
    @override
    def check(cls) -> None:
        if importlib.util.find_spec(cls.package) is None:
            raise MissingExtra(cls.package, cls.package)

    @abstractmethod
    def open(self, wanted: Opened) -> S:
        """The run by its id, or a new one."""

    @override
    def on_study_start(self, study: StudyRun) -> None:
        run = self._open(study.folder, study.folder, "study", _stated(study.settings))
        run.close()

    @override
    def on_start(self, run: Run) -> None:
        params = {"arm": run.arm, "method": run.method.describe(), "lr": run.lr, "seed": run.seed, "steps": run.steps}
        self._training = self._open(run.folder, self._study_of(run.folder), "arm", {**params, **run.settings})

    @override
    def after_step(self, run: Run, record: StepRecord) -> None:
        values = {
            "train/loss": record.loss,
            "train/lr": record.lr,
            "train/grad_norm": record.grad_norm,
            "train/tokens_per_second": record.tokens / record.seconds,
        }
        assert self._training is not None
        self._training.metrics(values, record.step)

    @override
    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        assert self._training is not None
        self._training.metrics({"validation/loss": record.loss}, record.step)

    @override
    def on_end(self, run: Run) -> None:
        if self._training is not None:
            self._training.close()
            self._training = None

    @override
    def after_test(self, study: StudyRun, arm: ArmScores) -> None:
        params = {"arm": arm.arm, "lr": arm.lr, "seed": arm.seed}
        run = self._open(arm.folder, study.folder, "arm", params, name=arm.name)
        run.metrics({f"test/{task}": score for task, score in {**arm.target, **arm.suites}.items()})
        run.close()

    @override
    def on_study_end(self, study: StudyRun, summary: Summary) -> None:
        for arm in summary.arms:
            if arm.suites and arm.folder is not None:
                run = self._open(study.folder / arm.folder, study.folder, "arm", {}, name=arm.name)
                run.metrics({f"retained/{verdict.suite}": verdict.change for verdict in arm.suites})
                run.tags({f"verdict/{verdict.suite}": verdict.verdict for verdict in arm.suites})
                run.close()
        whole = self._open(study.folder, study.folder, "study", {})
        whole.metrics({f"score/{arm.name}": arm.target.mean for arm in summary.arms if arm.target.n})
        advice = summary.recommendation
        whole.tags({"headline": advice.headline, "recommended": advice.arm or "none", "target": summary.target})
        with tempfile.TemporaryDirectory() as folder:
            tables = {"arms.csv": arm_rows(summary), "suites.csv": suite_rows(summary)}
            written = [_csv(Path(folder) / name, rows) for name, rows in tables.items() if rows]
            whole.files([*written, *(path for path in map(study.folder.joinpath, FILES) if path.is_file())])
        whole.close()

    def _open(
        self, folder: Path, study: Path, kind: Literal["study", "arm"], params: Mapping[str, object], name: str = ""
    ) -> S:
        """The run of a folder; a new one gets its parameters."""
        known = self._id(folder)
        parent = self._id(study) if kind == "arm" else None
        run = self.open(Opened(study, name or folder.name, kind, known, parent))
        if run.id != known:
            write_whole(folder / self._file, f"{run.id}\n")
            run.params(params)
        return run

    def _study_of(self, folder: Path) -> Path:
        """The nearest folder above that has a run: the study's."""
        return next((parent for parent in folder.parents if (parent / self._file).is_file()), folder.parent)

    def _id(self, folder: Path) -> str | None:
        path = folder / self._file
        return path.read_text(encoding="utf-8").strip() if path.is_file() else None

    @property
    def _file(self) -> str:
        return f"{self.name}.run"


def _stated(settings: Mapping[str, Any]) -> dict[str, object]:
    """What a study's run says of its recipe; the whole recipe is one of its files."""
    train = {f"train.{key}": value for key, value in settings.get("train", {}).items()}
    return {key: settings[key] for key in STATED if settings.get(key) is not None} | train


def _csv(path: Path, rows: Sequence[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
