"""`keeptune ci init`: the workflow can be read, and what it runs gives the exit codes that a gate goes by."""

from __future__ import annotations

import json
import shlex
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner, Result

from keeptune import __version__
from keeptune.cli.compare import read_margins
from keeptune.cli.main import app
from keeptune.core.errors import ConfigError, KeeptuneError
from keeptune.core.records import Summary

GITHUB, GITLAB = ".github/workflows/keeptune.yml", ".gitlab/keeptune.yml"


def log(side: str, wrong: int, task: str = "arc_easy") -> None:
    """600 items of lm-eval, so many of which are answered wrongly."""
    rows = []
    for i in range(600):
        hashed = sha256(str(i).encode()).hexdigest()
        hashes = dict.fromkeys(("doc_hash", "prompt_hash", "target_hash"), hashed)
        rows.append(
            {"doc_id": i, "target": "1", "filter": "none", "metrics": ["acc"], "acc": float(i >= wrong), **hashes}
        )
    Path(side).mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (Path(side) / f"samples_{task}_2026-11-23T10-00-00.0.jsonl").write_text(text)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    log("base", 60)
    return tmp_path


def run(*arguments: str) -> Result:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exception is None or isinstance(ended.exception, KeeptuneError | SystemExit), ended.exception
    return ended


def written(system: str) -> str:
    """The comparison that a workflow runs."""
    if system == "gitlab":
        return str(yaml.safe_load(Path(GITLAB).read_text())["keeptune"]["script"][1])
    steps = yaml.safe_load(Path(GITHUB).read_text())["jobs"]["compare"]["steps"]
    return next(str(step["run"]) for step in steps if "keeptune compare" in step.get("run", ""))


@pytest.mark.parametrize("system", ["github", "gitlab"])
@pytest.mark.parametrize(("wrong", "margin", "code"), [(60, "3", 0), (200, "3", 10), (63, "0.5", 11)])
def test_what_the_workflow_runs_passes_or_fails_as_the_model_did(
    system: str, wrong: int, margin: str, code: int
) -> None:
    log("tuned", wrong)
    ended = run("ci", "init", "--system", system, "--", "--samples", "base", "tuned", "--margin", f"arc_easy={margin}")
    assert ended.exit_code == 0, ended.output
    command = written(system)
    words = shlex.split(command)
    assert words[0] == "keeptune"
    assert run(*words[1:]).exit_code == code
    failures = ElementTree.parse("keeptune.xml").getroot().get("failures")
    assert failures == ("0" if code == 0 else "1")
    assert "arc_easy" in Path("keeptune.md").read_text()
    assert Path("runs/ci/report.html").is_file()
    assert run(*words[1:]).exit_code == code  # and again: the folder is written over


def test_a_workflow_is_not_written_over_and_wrong_options_are_refused() -> None:
    log("tuned", 60)
    given = ("--", "--samples", "base", "tuned")
    assert run("ci", "init", *given).output.startswith(f"wrote {GITHUB}\nnext: keeptune compare --samples base tuned")
    assert isinstance(run("ci", "init", *given).exception, ConfigError)
    assert run("ci", "init", "--overwrite", *given).exit_code == 0
    for wrong in (("--", "--sampels", "base", "tuned"), ("--", "base")):
        assert run("ci", "init", "--system", "gitlab", *wrong).exit_code == 2
    assert not Path(GITLAB).exists()
    assert "include: [{local: .gitlab/keeptune.yml}]" in run("ci", "init", "--system", "gitlab", *given).output


def test_what_a_job_needs_again_is_pinned_and_kept() -> None:
    given = ("--", "--samples", "base", "tuned")
    for system, path in (("github", GITHUB), ("gitlab", GITLAB)):
        assert run("ci", "init", "--system", system, *given).exit_code == 0
        text = Path(path).read_text()
        assert f"pip install keeptune=={__version__} " in text
        assert "Fails with 10" in text and "with 11" in text
        yaml.safe_load(text)
    github, gitlab = (yaml.safe_load(Path(path).read_text()) for path in (GITHUB, GITLAB))
    assert github["permissions"] == {"contents": "read"} and github[True] == ["pull_request"]  # YAML 1.1: on is true
    _, python, cache, *_ = github["jobs"]["compare"]["steps"]
    assert python["with"]["cache-dependency-path"] == GITHUB
    assert cache["with"]["path"].split() == ["~/.cache/keeptune", "~/.cache/huggingface"]
    assert cache["with"]["key"] == "keeptune-${{ github.run_id }}"
    job = gitlab["keeptune"]
    assert job["cache"]["paths"] == [".cache/"]
    assert all(place.startswith("$CI_PROJECT_DIR/.cache/") for place in job["variables"].values())


def test_json_is_one_document_and_quiet_the_decision() -> None:
    log("tuned", 200)
    ended = run("compare", "--samples", "base", "tuned", "--json")
    assert Summary.model_validate_json(ended.output).arms[-1].suites[0].verdict == "Harmed"
    assert ended.exit_code == 10
    quiet = run("compare", "--samples", "base", "tuned", "--quiet")
    assert quiet.output == "Do not ship: arc_easy harmed.\nreport: runs/compare/report.html\n"


def test_margins_of_all_suites_and_of_one() -> None:
    assert read_margins([]) == (None, {})
    assert read_margins(["2", "addition=3", "a=b=1%"]) == (2.0, {"addition": "3", "a=b": "1%"})
    for wrong in (["much"], ["addition="], ["2", "3"], ["1%"], ["addition=100"]):
        with pytest.raises(ConfigError):
            read_margins(wrong)
    log("tuned", 60)
    assert "no log of task 'other'" in str(
        run("compare", "--samples", "base", "tuned", "--margin", "other=3").exception
    )
