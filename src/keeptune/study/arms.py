"""An arm on disk: what it is, what it cost, and every item it answered. Finished arms are read, not run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.errors import DataError
from keeptune.core.records import Costs, ItemRecord, Record, read_json, read_records, write_json, write_records


class ArmRecord(Record):
    """arm.json: all about an arm but its items."""

    key: str  # content hash of everything that the arm depends on
    name: str
    label: str
    family: str  # "prompt" or the method's name
    costs: Costs
    lr: float | None = None
    seed: int | None = None
    shots: int | None = None
    note: str | None = None


class TrialRecord(Record):
    """trial.json: one rate of one method, trained, and scored on validation items."""

    key: str
    name: str
    label: str
    method: str
    lr: float
    seed: int
    target_scores: tuple[float, ...]  # per validation item, the same items in all trials
    retained_changes: tuple[float, ...]  # of every suite, validation parts; positive is better
    validation_loss: float | None
    diverged: bool
    best_step: int
    steps: int
    costs: Costs


@dataclass(frozen=True)
class Arm:
    """An arm with its test items, by task and by retained suite."""

    record: ArmRecord
    folder: Path
    target: Mapping[str, Sequence[ItemRecord]]
    suites: Mapping[str, Sequence[ItemRecord]]

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


def save_arm(arm: Arm) -> None:
    """Write items first and arm.json last: an arm without arm.json was interrupted and runs again."""
    for name, items in {**arm.target, **arm.suites}.items():
        write_records(arm.folder / "items" / f"{name}.jsonl", items)
    write_json(arm.folder / "arm.json", arm.record)


def finished_arm(folder: Path, key: str, tasks: Sequence[str], suites: Sequence[str]) -> Arm | None:
    """The arm of a folder, if it finished under the same key."""
    try:
        record = read_json(folder / "arm.json", ArmRecord)
        if record.key != key:
            return None
        items = {
            name: tuple(read_records(folder / "items" / f"{name}.jsonl", ItemRecord)) for name in (*tasks, *suites)
        }
        return Arm(record, folder, {name: items[name] for name in tasks}, {name: items[name] for name in suites})
    except (DataError, FileNotFoundError):
        return None


def finished_trial(folder: Path, key: str) -> TrialRecord | None:
    """The trial of a folder, if it finished under the same key."""
    try:
        record = read_json(folder / "trial.json", TrialRecord)
    except DataError:
        return None
    return record if record.key == key else None
