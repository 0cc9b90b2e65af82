"""Runs on disk: what a folder holds, told from its records. No torch."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from keeptune.core.errors import DataError, RunFolderError
from keeptune.core.records import ArmSummary, Interval, ItemRecord, Record, Score, Summary, read_json, read_records
from keeptune.recipe.begun import Begun, begun_in, held
from keeptune.retention.scores import difference, score

SUMMARY = "summary.json"

Kind = Literal["study", "comparison", "evaluation"]
State = Literal["finished", "unfinished", "unreadable"]


class RunRecord(Record):
    """One run folder, in short."""

    folder: str
    kind: Kind
    state: State
    title: str = ""
    model: str = ""
    target: str = ""
    trainings: int = 0  # that are done
    best: str | None = None  # label of the arm to take, or of the one that scored best
    score: Score | None = None  # of it on the target
    verdicts: dict[str, int] = Field(default={})  # of it: verdict -> number of suites
    headline: str = ""  # the decision; what is wrong with a run that cannot be read
    age_seconds: float = 0.0  # since something was written to it
    size_bytes: int = 0


class TaskDifference(Record):
    """One task or suite that two runs scored."""

    task: str
    before: float  # mean score of the first run's arm
    after: float
    change: float | None  # after - before; None where the items are not the same
    interval: Interval | None  # paired, 95 %
    n: int  # items of the first


class RunsCompared(Record):
    """The leading arms of two finished runs."""

    folders: tuple[str, str]
    arms: tuple[str, str]  # their labels
    settings: tuple[str, ...]  # those that differ: 'train.epochs: 3, 2'
    tasks: tuple[TaskDifference, ...]


def find_runs(root: Path) -> Iterator[Path]:
    """Folders below ``root`` that hold a run, ``root`` included; nothing inside a run is one.

    Raises:
        RunFolderError: there is no such folder.
    """
    if not root.is_dir():
        raise RunFolderError("no such folder", where=str(root), remedy="name one with --below")
    for name, folders, _ in os.walk(root):
        if is_run(Path(name)):
            folders.clear()
            yield Path(name)
        else:
            folders[:] = sorted(folder for folder in folders if not folder.startswith("."))


def is_run(folder: Path) -> bool:
    """Whether keeptune has written a run there: records of a study, a comparison or an evaluation."""
    return begun_in(folder) is not None or (folder / SUMMARY).is_file()


def run_record(folder: Path, now: float | None = None) -> RunRecord:
    """What a folder holds.

    Args:
        folder: of the run.
        now: seconds since the epoch, from which ages count; by default the clock's.

    Raises:
        RunFolderError: it holds no run.
    """
    if not is_run(folder):
        raise RunFolderError("holds no run", where=str(folder), remedy="keeptune runs lists those that are there")
    begun = begun_in(folder)
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    stats = [file.stat() for file in files]
    last = max((stat.st_mtime for stat in stats), default=folder.stat().st_mtime)
    facts: dict[str, Any] = {
        "folder": str(folder),
        "kind": begun.kind if begun else "study",
        "trainings": sum(file.name == "trial.json" for file in files),
        "age_seconds": max(0.0, (time.time() if now is None else now) - last),
        "size_bytes": sum(stat.st_size for stat in stats),
    }
    if not (folder / SUMMARY).is_file():
        done = facts["kind"] == "evaluation" and held(folder)
        return RunRecord(**facts, state="finished" if done else "unfinished", **(_asked(begun) if begun else {}))
    try:
        summary = read_json(folder / SUMMARY, Summary)
    except DataError as error:
        return RunRecord(**facts, state="unreadable", headline=str(error), **(_asked(begun) if begun else {}))
    return RunRecord(**facts, state="finished", **_told(summary))


def finished_summary(folder: Path) -> Summary:
    """The summary of a finished run.

    Raises:
        RunFolderError: it did not finish, holds no run, or an evaluation, which has no arms.
    """
    record = run_record(folder)
    if (folder / SUMMARY).is_file():
        return read_json(folder / SUMMARY, Summary)
    what = "holds an evaluation" if record.kind == "evaluation" else "did not finish"
    raise RunFolderError(what, where=str(folder), remedy="name a study or a comparison that finished")


def leading(summary: Summary) -> ArmSummary | None:
    """The trained arm that a run says to take; where it names none, the arm that scored best."""
    arms = [arm for arm in summary.arms if arm.not_run is None]
    taken = summary.recommendation.arm
    return max(arms, key=lambda a: (a.name == taken and not a.prompting, a.target.mean, bool(a.suites)), default=None)


def compare_runs(first: Path, second: Path) -> RunsCompared:
    """The leading arms of two runs on every task that both scored, paired by item where the items are the same.

    Raises:
        RunFolderError: one did not finish.
        DataError: the item records of one cannot be read.
    """
    folders = (first, second)
    arms = []
    for folder in folders:
        arm = leading(finished_summary(folder))
        if arm is None:
            raise RunFolderError("no arm was run", where=str(folder))
        arms.append(arm)
    before, after = (_items(folder, arm) for folder, arm in zip(folders, arms, strict=True))
    return RunsCompared(
        folders=(str(first), str(second)),
        arms=(arms[0].label, arms[1].label),
        settings=tuple(_changed(begun_in(first), begun_in(second), {arm.family for arm in arms})),
        tasks=tuple(_difference(name, before[name], after[name]) for name in before if name in after),
    )


def _asked(begun: Begun) -> dict[str, str]:
    """Model and target of a run that did not finish."""
    settings = begun.settings
    model = settings.get("model") or " \u2192 ".join(settings.get("models", ()))
    targets = settings.get("target") or ()
    named = targets if isinstance(targets, list) else [targets] if targets else []
    return {
        "model": str(model),
        "target": ", ".join(str(each["name"]) if isinstance(each, dict) else str(each) for each in named),
    }


def _told(summary: Summary) -> dict[str, Any]:
    arm = leading(summary)
    return {
        "title": summary.title,
        "model": summary.model,
        "target": summary.target,
        "best": arm.label if arm else None,
        "score": arm.target if arm and arm.target.n else None,
        "verdicts": dict(Counter(verdict.verdict for verdict in arm.suites)) if arm else {},
        "headline": summary.recommendation.headline,
    }


def _items(folder: Path, arm: ArmSummary) -> dict[str, tuple[ItemRecord, ...]]:
    """By task, what an arm answered on test items."""
    place = folder / (arm.folder or f"arms/{arm.name}") / "items"
    return {file.stem: tuple(read_records(file, ItemRecord)) for file in sorted(place.glob("*.jsonl"))}


def _difference(name: str, before: tuple[ItemRecord, ...], after: tuple[ItemRecord, ...]) -> TaskDifference:
    bounded = all(0 <= item.score <= 1 for item in (*before, *after))
    first, second = (score(items, name, "mean" if bounded else "bits_per_byte") for items in (before, after))
    change, interval = None, None
    if bounded and {item.id for item in before} == {item.id for item in after}:
        change, interval = difference(after, before)
    return TaskDifference(task=name, before=first.mean, after=second.mean, change=change, interval=interval, n=first.n)


def _changed(first: Begun | None, second: Begun | None, families: set[str]) -> Iterator[str]:
    """'train.epochs: 3, 2' of what two runs set otherwise; long values and other methods' settings are not shown."""
    if first is None or second is None:
        return
    before, after = (_flat({**run.settings, **run.lists}) for run in (first, second))
    used = {family.replace("-", "_") for family in families}
    methods = {name.partition(".")[0] for name in before.keys() | after.keys() if name.endswith(".learning_rates")}
    for name in sorted(before.keys() & after.keys()):
        one, other = str(before[name]), str(after[name])
        if one != other and name.partition(".")[0] not in methods - used:
            yield f"{name}: {one}, {other}" if len(one) + len(other) <= 60 else name


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
