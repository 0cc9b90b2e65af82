"""What a training left is read with the rows of its spikes placed in their files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keeptune.core.records import Costs, RowLoss, SpikeRecord, StepRecord, write_records
from keeptune.data.examples import Example
from keeptune.study.records import ArmRecord, ScoredArm
from keeptune.study.trouble import NAMED, course


def test_rows_of_a_spike_are_named_by_file_and_line(tmp_path: Path) -> None:
    record = ArmRecord(key="k", name="full", label="full", family="full", costs=Costs(), lr=1e-3)
    arm = ScoredArm(record, tmp_path, target={}, suites={})
    known = Example.make({"text": "odd"}, path="rows.jsonl", line=12)
    rows = tuple(RowLoss(id=name, loss=9.0 - n) for n, name in enumerate((known.id, "elsewhere", "c", "d")))
    step = StepRecord(step=9, loss=8.0, lr=1e-3, grad_norm=1, tokens=8, trained_tokens=2, seconds=1)
    write_records(tmp_path / "spikes.jsonl", [SpikeRecord(step=9, loss=8.0, usual=2.0, rows=rows)])
    write_records(tmp_path / "steps.jsonl", [step])
    task: Any = SimpleNamespace(splits=SimpleNamespace(train=[Example.make({"text": "other"}), known]))
    found = course(arm, [1e-3], [task])
    assert found.steps == [step]
    assert [(row.path, row.line) for row in found.spikes[0].rows] == [("rows.jsonl", 12), ("", 0), ("", 0)]
    assert len(found.spikes[0].rows) == NAMED


def test_an_arm_without_a_training_of_its_own_has_no_course(tmp_path: Path) -> None:
    record = ArmRecord(key="k", name="full", label="full", family="full", costs=Costs())
    found = course(ScoredArm(record, tmp_path, target={}, suites={}), [], [])
    assert (found.steps, found.spikes, found.skipped, found.validation) == ([], [], [], [])
