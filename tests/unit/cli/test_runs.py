"""`keeptune runs`: what is listed, shown, compared and removed."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from keeptune.cli.main import app
from keeptune.cli.runs import age
from keeptune.core.errors import KeeptuneError, RunFolderError
from keeptune.core.lock import locked
from keeptune.core.records import (
    ArmSummary,
    Interval,
    ItemRecord,
    Manifest,
    Recommendation,
    Score,
    Summary,
    write_json,
    write_records,
)
from keeptune.inspect.runs import RunRecord, RunsCompared, compare_runs, find_runs, leading, run_record
from keeptune.recipe.begun import FILE, Begun


def score(mean: float, n: int = 40) -> Score:
    return Score(metric="exact_match", mean=mean, interval=Interval(low=mean, high=mean), n=n, clusters=n)


def summary(means: dict[str, float], take: str | None = None) -> Summary:
    arms = [
        ArmSummary(name=name, label=name.upper(), family=name.partition("-")[0], target=score(mean))
        for name, mean in means.items()
    ]
    manifest = Manifest(
        **dict.fromkeys(("python", "platform", "precision", "config_hash", "model_hash"), "x"),
        keeptune="0.1.0",
        command="keeptune train --model m --data rows.jsonl",
        started="2026-11-29T10:00:00",
        device="cpu",
        versions={},
        seeds=(0,),
        config={"target": [{"data": "rows.jsonl"}]},
        model="m",
        data_hashes={},
    )
    decision = Recommendation(
        arm=take, headline="Take it.", paragraph="It is good.", provisional=False, binding=None, runner_up=None
    )
    return Summary(
        title="rows",
        model="m",
        target="rows",
        metric="exact_match",
        date="2026-11-29",
        wall_seconds=1.0,
        seeds=(0,),
        arms=tuple(arms),
        recommendation=decision,
        manifest=manifest,
    )


def begun(kind: Any = "study", **settings: Any) -> Begun:
    values = {"model": "m", "target": [{"name": "rows"}], "train": {"epochs": 3}, "lora": {"rank": 16}, **settings}
    return Begun(kind=kind, settings=values, lists={"lora.learning_rates": [1e-3], "ia3.learning_rates": [1e-2]})


def items(folder: Path, arm: str, scores: list[float], task: str = "rows") -> None:
    records = [ItemRecord(suite=task, id=str(i), cluster=str(i), score=value) for i, value in enumerate(scores)]
    write_records(folder / "arms" / arm / "items" / f"{task}.jsonl", records)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two finished studies, one that did not finish, an evaluation, and a folder of somebody else's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    runs = tmp_path / "runs"
    for name, means, changes in (
        ("first", {"prompt-0shot": 0.2, "lora": 0.5}, {}),
        ("deep/second", {"prompt-0shot": 0.2, "lora": 0.75}, {"train": {"epochs": 5}, "ia3": {"x": 1}}),
    ):
        write_json(runs / name / FILE, begun(**changes))
        write_json(runs / name / "summary.json", summary(means, take="lora"))
        items(runs / name, "lora", [float(i < 40 * means["lora"]) for i in range(40)])
    write_json(runs / "begun" / FILE, begun())
    write_records(runs / "begun" / "arms" / "lora" / "trial.json", [])
    write_json(runs / "scores" / FILE, begun("evaluation"))
    (runs / "scores" / "manifest.json").write_text("{}")
    (runs / "notes").mkdir()
    (runs / "notes" / "arms").write_text("not a run")
    return runs


def run(*arguments: str, **more: Any) -> Result:
    ended = CliRunner().invoke(app, ["runs", *arguments], **more)
    assert ended.exception is None or isinstance(ended.exception, KeeptuneError | SystemExit), ended.exception
    return ended


def test_every_run_is_listed_once_and_nothing_else(root: Path) -> None:
    (root / "first" / "arms" / "summary.json").write_text("{}")  # inside a run
    found = {path.relative_to(root).as_posix() for path in find_runs(root)}
    assert found == {"first", "deep/second", "begun", "scores"}
    records = [RunRecord.model_validate(each) for each in json.loads(run("--json").output)]
    assert {Path(record.folder).name: record.state for record in records} == {
        "first": "finished",
        "second": "finished",
        "begun": "unfinished",
        "scores": "finished",
    }
    text = run().output
    assert "50.0 exact_match" in text and "study, unfinished, 1" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_runs_and_no_folder(root: Path, tmp_path: Path) -> None:
    assert run("--below", str(root / "notes")).output.startswith("no runs below")
    assert isinstance(run("--below", str(tmp_path / "none")).exception, RunFolderError)


def test_age_counts_from_what_was_written_last(root: Path) -> None:
    for file in (root / "begun").rglob("*"):
        os.utime(file, (1000.0, 1000.0))
    assert run_record(root / "begun", now=1000.0 + 7300).age_seconds == 7300
    assert [age(seconds) for seconds in (5, 125, 7300, 200_000)] == ["5 s", "2 min", "2 h", "2 d"]


def test_a_summary_of_another_version_is_said(root: Path) -> None:
    (root / "first" / "summary.json").write_text('{"a": 1}')
    record = run_record(root / "first")
    assert record.state == "unreadable" and "not a Summary" in record.headline
    assert "not a Summary" in run("show", str(root / "first")).output


def test_the_leading_arm_is_the_one_to_take_or_the_best() -> None:
    means = {"prompt-0shot": 0.4, "lora": 0.5, "full": 0.6}
    assert [leading(summary(means, take)).name for take in ("lora", "prompt-0shot", None)] == ["lora", "full", "full"]
    assert leading(summary({})) is None


def test_show_prints_the_verdict_and_what_made_it(root: Path) -> None:
    text = run("show", str(root / "first")).output
    assert "Take it." in text and "made by: keeptune train --model m --data rows.jsonl\n" in text
    assert "next: keeptune compare m runs" not in text and "next: keeptune compare m " in text
    assert Summary.model_validate_json(run("show", str(root / "first"), "--json").output).title == "rows"
    assert "run the same command again" in run("show", str(root / "begun")).output
    assert isinstance(run("show", str(root / "notes")).exception, RunFolderError)


def test_two_runs_are_compared_item_by_item(root: Path) -> None:
    first, second = root / "first", root / "deep/second"
    found = compare_runs(first, second)
    (task,) = found.tasks
    assert (task.before, task.after, task.change, task.n) == (0.5, 0.75, 0.25, 40)
    assert task.interval is not None and 0 < task.interval.low < 0.25 < task.interval.high
    assert found.settings == ("train.epochs: 3, 5",)  # ia3 is no arm of either
    back = compare_runs(second, first).tasks[0]
    assert back.change == -0.25 and back.interval.low == pytest.approx(-task.interval.high)
    assert RunsCompared.model_validate_json(run("compare", str(first), str(second), "--json").output) == found
    text = run("compare", str(first), str(second)).output
    assert "+25.0 (" in text and "other train.epochs: 3, 5" in text


def test_other_items_give_no_difference(root: Path) -> None:
    items(root / "deep/second", "lora", [1.0] * 39)
    (task,) = compare_runs(root / "first", root / "deep/second").tasks
    assert (task.change, task.interval) == (None, None)
    assert isinstance(run("compare", str(root / "first"), str(root / "begun")).exception, RunFolderError)


def test_removing_asks_and_refuses_what_is_no_run(root: Path) -> None:
    run("rm", str(root / "first"), input="n\n")
    assert (root / "first").is_dir()
    assert isinstance(run("rm", "--yes", str(root / "first"), str(root / "notes")).exception, RunFolderError)
    assert (root / "first").is_dir() and (root / "notes").is_dir()
    assert "removed" in run("rm", str(root / "first"), input="y\n").output
    run("rm", "--yes", str(root / "begun"))
    assert {path.name for path in find_runs(root)} == {"second", "scores"}


def test_a_run_that_another_process_holds_is_not_removed(root: Path) -> None:
    with locked(root / "begun"):
        refused = run("rm", "--yes", str(root / "first"), str(root / "begun")).exception
    assert isinstance(refused, RunFolderError)
    assert f"in use by process {os.getpid()} on {socket.gethostname()}" in str(refused) and "stop it" in str(refused)
    assert (root / "first").is_dir() and (root / "begun" / "arms").is_dir()  # none is removed
    assert "removed" in run("rm", "--yes", str(root / "begun")).output
    assert not (root / "begun").exists()
