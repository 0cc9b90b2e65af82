"""What commands print under --json validates against the published schemas."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from keeptune.cli.main import app

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def printed(name: str, *arguments: str, code: int = 0) -> Any:
    """The document of a command, which is one that its schema knows."""
    ended = CliRunner().invoke(app, [*arguments, "--json"])
    assert ended.exit_code == code, (ended.output, ended.exception)
    found = json.loads(ended.stdout, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    jsonschema.validate(found, json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")))
    return found


def log(side: str, wrong: int) -> None:
    """60 items of lm-eval, so many of which are answered wrongly."""
    rows = []
    for i in range(60):
        hashes = dict.fromkeys(("doc_hash", "prompt_hash", "target_hash"), sha256(str(i).encode()).hexdigest())
        scores = {"metrics": ["acc"], "acc": float(i >= wrong)}
        rows.append({"doc_id": i, "target": str(i % 2), "filter": "none", **scores, **hashes})
    Path(side).mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (Path(side) / "samples_arc_2026-11-23T10-00-00.0.jsonl").write_text(text)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"text": f"letter {i} of {i * 37}", "label": ["spam", "ham"][i % 2]} for i in range(80)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_commands_that_look_at_data() -> None:
    assert printed("check", "data", "check", "rows.jsonl")["examples"] == 80
    assert printed("cleaned", "data", "clean", "rows.jsonl", "--out", "clean.jsonl")["kept"] == 80
    assert printed("diagnosis", "doctor")["packages"]


def test_a_comparison_and_what_is_done_with_its_run() -> None:
    log("base", 6)
    log("tuned", 30)
    summary = printed("summary", "compare", "--samples", "base", "tuned", code=10)
    printed("summary", "compare", "--samples", "base", "base", "--out", "runs/same", code=11)
    assert printed("summaries", "report", "runs/compare") == [summary]
    assert {run["folder"] for run in printed("runs", "runs")} == {"runs/compare", "runs/same"}
    assert printed("summary", "runs", "show", "runs/compare") == summary
    assert printed("runs-compared", "runs", "compare", "runs/compare", "runs/same")["tasks"]
    (removed,) = printed("runs", "runs", "rm", "runs/same", "--yes")
    assert removed["folder"] == "runs/same" and not Path("runs/same").exists()
    written = printed("workflow", "ci", "init", "--samples", "base", "tuned")
    assert Path(written["path"]).is_file()


def test_commands_about_recipes() -> None:
    assert printed("section", "recipe", "train")["title"] == "train"
    drafted = printed("drafted", "init", "rows.jsonl", "--yes", "--model", "builtin")
    assert Path(drafted["recipe"]).is_file() and drafted["data"]["kind"] == "choices"
    assert len(printed("preview", "data", "preview", "rows.jsonl", "--model", "builtin")["rows"]) == 3


@pytest.mark.slow
def test_a_model_is_scored_and_planned_for() -> None:
    (row,) = printed("scores", "evaluate", "--model", "builtin", "--task", "builtin:addition", "--limit", "8")
    assert row["task"] == "addition"
    recipe = "model: builtin\ntarget: {task: builtin:orders}\narms: [prompt, lora]\n"
    Path("recipe.yaml").write_text(recipe)
    assert printed("forecast", "plan", "recipe.yaml", "--devices", "1xH100-80GB")["forecasts"]


@pytest.mark.slow
def test_a_page_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeptune.chat.server.ChatServer.serve_forever", lambda server: None)  # it would not come back
    served = printed("serving", "chat", "builtin", "--port", "0", "--device", "cpu")
    assert served["url"].startswith("http://127.0.0.1:") and served["columns"] == 1


SMALL = ("workers=1", "train.max_steps=2", "validation_items=20", "test_items=20", "prompt.shots=[0]")


@pytest.mark.slow
def test_what_trains_and_what_is_done_with_its_run() -> None:
    settings = [part for setting in SMALL for part in ("--set", setting)]
    summary = printed("summary", "demo", "--quick", "--out", "runs/demo", *settings)
    assert len(summary["arms"]) == 3 and printed("summary", "runs", "show", "runs/demo") == summary
    Path("recipe.yaml").write_text("model: builtin\ntarget: {task: builtin:orders}\nretain: none\narms: [prompt]\n")
    assert printed("summary", "study", "recipe.yaml", "--out", "runs/study", *settings)["arms"]
    lora = [each["name"] for each in summary["arms"] if each["family"] == "lora"]
    exported = printed("export", "export", "runs/demo", "--arm", *lora, "--out", "model", "--merge")
    assert exported["merged"] and Path("model").is_dir()


@pytest.mark.slow
def test_a_training_of_own_rows() -> None:
    trained = printed(
        *("summary", "train", "--data", "rows.jsonl", "--model", "builtin", "--method", "lora", "--lr", "1e-3"),
        *("--set", "train.max_steps=2", "--set", "workers=1"),
    )
    assert trained["arms"][-1]["family"] == "lora"
