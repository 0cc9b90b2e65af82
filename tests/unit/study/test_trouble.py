"""What a training left is read with the rows that it names placed in their files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keeptune.core.records import Costs, RowLoss, SpikeRecord, StepRecord, write_json, write_records
from keeptune.data.examples import Encoded, Example
from keeptune.study.records import ArmRecord, ScoredArm, TrialRecord, ValidationScores
from keeptune.study.trouble import NAMED, course, hardest


def test_rows_of_a_spike_are_named_by_file_and_line(tmp_path: Path) -> None:
    record = ArmRecord(key="k", name="full", label="full", family="full", costs=Costs(), lr=1e-3)
    arm = ScoredArm(record, tmp_path, target={}, suites={})
    known = Example.make({"text": "odd"}, path="rows.jsonl", line=12)
    rows = tuple(RowLoss(id=name, loss=9.0 - n) for n, name in enumerate((known.id, "elsewhere", "c", "d")))
    step = StepRecord(step=9, loss=8.0, lr=1e-3, grad_norm=1, tokens=8, trained_tokens=2, seconds=1)
    write_records(tmp_path / "spikes.jsonl", [SpikeRecord(step=9, loss=8.0, usual=2.0, rows=rows)])
    write_records(tmp_path / "steps.jsonl", [step])
    task: Any = SimpleNamespace(splits=SimpleNamespace(train=[Example.make({"text": "other"}), known], validation=[]))
    found = course(arm, [1e-3], [task])
    assert found.steps == [step]
    assert [(row.path, row.line) for row in found.spikes[0].rows] == [("rows.jsonl", 12), ("", 0), ("", 0)]
    assert len(found.spikes[0].rows) == NAMED


def test_without_a_spike_the_validation_rows_with_the_largest_loss_are_named(tmp_path: Path) -> None:
    rows = [Example.make({"text": f"row {n}"}, path="rows.jsonl", line=n) for n in range(1, 6)]
    encoded = [Encoded(row.id, (1,), (2,) * row.line) for row in rows]
    named = hardest(encoded, [1.0, 8.0, 3.0, 40.0, 10.0])  # per token: 1, 4, 1, 10, 2
    assert [row.loss for row in named] == [10.0, 4.0, 2.0]
    record = TrialRecord(
        key="k",
        name="full",
        arm="full",
        label="full",
        method="full",
        lr=1e-3,
        seed=0,
        examples=9,
        validation=ValidationScores(target=(1.0,), suites=()),
        hardest=named,
        validation_loss=1.0,
        diverged=False,
        best_step=1,
        steps=1,
        costs=Costs(),
    )
    write_json(tmp_path / "trial.json", record)
    arm = ArmRecord(key="k", name="full", label="full", family="full", costs=Costs(), lr=1e-3)
    task: Any = SimpleNamespace(splits=SimpleNamespace(train=[], validation=rows))
    found = course(ScoredArm(arm, tmp_path, target={}, suites={}), [1e-3], [task])
    assert found.spikes == []
    assert [(row.path, row.line) for row in found.hardest] == [("rows.jsonl", 4), ("rows.jsonl", 2), ("rows.jsonl", 5)]


def test_an_arm_without_a_training_of_its_own_has_no_course(tmp_path: Path) -> None:
    record = ArmRecord(key="k", name="full", label="full", family="full", costs=Costs())
    found = course(ScoredArm(record, tmp_path, target={}, suites={}), [], [])
    assert (found.steps, found.spikes, found.skipped, found.validation) == ([], [], [], [])
