"""What a study tells a service: a run for the study, runs below it for the arms, found again in any process."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from told import LOSSES, tell

from keeptune.tracking.service import Opened, ServiceTracker


class Kept:
    """A run that keeps what it is told, over all the times that it is opened."""

    def __init__(self, run_id: str, wanted: Opened) -> None:
        self.id, self.wanted = run_id, wanted
        self.told: dict[str, Any] = {}
        self.series: dict[str, list[tuple[int | None, float]]] = {}
        self.names: dict[str, list[str]] = {}
        self.open = 0

    def params(self, values: Mapping[str, object]) -> None:
        assert not self.told, "parameters are told once, and first"
        self.told["params"] = dict(values)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append((step, value))

    def tags(self, values: Mapping[str, str]) -> None:
        self.told.setdefault("tags", {}).update(values)

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            text = path.read_text(encoding="utf-8")
            self.names[path.name] = text.splitlines()

    def close(self) -> None:
        self.open -= 1


class Book(ServiceTracker[Kept]):
    name = "book"
    runs: ClassVar[dict[str, Kept]] = {}

    def open(self, wanted: Opened) -> Kept:
        known = wanted.id or f"run{len(self.runs)}"
        run = self.runs.setdefault(known, Kept(known, wanted))
        run.open += 1
        assert run.open == 1
        return run


def test_study_and_arms(tmp_path: Path) -> None:
    Book.runs.clear()
    summary, name = tell(Book(), Book(), tmp_path / "mine")
    study, arm, *others = Book.runs.values()
    assert (study.wanted.kind, study.wanted.name, study.wanted.parent) == ("study", "mine", None)
    assert study.told["params"] == {"model": "builtin", "arms": ["prompt", "lora"], "seeds": [0], "train.epochs": 3}
    assert (arm.wanted.kind, arm.wanted.name, arm.wanted.parent) == ("arm", name, study.id)
    assert arm.told["params"]["lr"] == 1e-3 and arm.told["params"]["epochs"] == 3
    assert arm.series["train/loss"] == list(enumerate(LOSSES, 1))
    assert arm.series["validation/loss"] == [(3, 1.25)]
    assert arm.series["test/orders"] == [(None, 0.75)] and arm.series["test/triage"] == [(None, 0.5)]
    judged = next(a for a in summary.arms if a.name == name)
    assert arm.told["tags"] == {f"verdict/{v.suite}": v.verdict for v in judged.suites}
    assert {run.wanted.name for run in others} == {a.name for a in summary.arms if a.suites} - {name}
    assert study.told["tags"]["headline"] == summary.recommendation.headline
    assert {"summary.json", "report.html", "arms.csv", "suites.csv"} <= study.names.keys()
    assert [row["arm"] for row in csv.DictReader(study.names["arms.csv"])] == [a.name for a in summary.arms]
    assert not any(run.open for run in Book.runs.values())


def test_a_study_that_goes_on_adds_to_its_runs(tmp_path: Path) -> None:
    Book.runs.clear()
    tracker = Book()
    _, name = tell(tracker, tracker, tmp_path / "mine")
    before = len(Book.runs)
    (tmp_path / "mine" / "arms" / name).rename(tmp_path / "kept")
    tell(tracker, tracker, tmp_path / "mine")
    assert len(Book.runs) == before + 1  # the arm whose folder was taken away
