"""The commands of the guides run in their order, on small budgets, in a folder that has what the pages speak of."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import make_site

ROOT = Path(__file__).parents[2]
TRAINING = (
    *("workers=1", "seeds=[0]", "test_items=20", "validation_items=20", "train.max_steps=2", "search.trainings=4"),
    *("full.learning_rates=[1.0e-4]", "lora.learning_rates=[1.0e-3]"),
)
SMALL = {  # put behind a command, so that it takes seconds
    "study": [*(f"--set={each}" for each in TRAINING), "--set=prompt.shots=[0,1]", "--set=prompt.draws=1"],
    "train": [f"--set={each}" for each in TRAINING],
    "evaluate": ["--limit=20", "--draws=1"],
}


def shell(page: str) -> Iterator[str]:
    """The lines of a page's shell blocks."""
    for kind, text in make_site.FENCE.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        if kind == "sh":
            yield from text.splitlines()


def run(line: str) -> str:
    """The output of a line: of the program in this process, of anything else in a shell."""
    from keeptune.cli.main import app

    program, *words = shlex.split(line.partition("  #")[0])
    if program != "keeptune":
        python = shlex.quote(sys.executable)
        done = subprocess.run(
            re.sub("^python ", f"{python} ", line), shell=True, capture_output=True, text=True, check=True
        )
        return done.stdout
    result = CliRunner().invoke(app, [*words, *SMALL.get(words[0], [])])
    assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside the repository's examples, with rows of the kinds that the guides speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("examples", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    sums = [
        {"instruction": "Add.", "input": f"{i} + {j} =", "output": f"{i + j}"} for i in range(16) for j in range(10)
    ]
    words = ["heron", "otter", "newt", "crane", "pike", "toad", "swan", "teal", "vole", "rudd", "lynx", "hare", "mole"]
    kept = [{"prompt": f"Say {a} after {b}.", "completion": f" {a}"} for a in words for b in words if a != b]
    for name, rows in (("rows.jsonl", sums), ("kept.jsonl", kept)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [(f"What comes after {i}?", f"{i + 1}") for i in range(160)]
    chats = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in asked]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    return tmp_path


@pytest.mark.slow
def test_the_tutorial_runs(folder: Path) -> None:
    said = {line: run(line) for line in shell("tutorial.md")}
    assert (folder / "books.jsonl").read_text(encoding="utf-8").count("\n") == 2000
    check = said["keeptune data check books.jsonl"]
    for fact in ("classification", "1,400", "200", "400", "2 rows repeat", "4 labels"):
        assert fact in check
    recipe = (folder / "books.yaml").read_text(encoding="utf-8")
    assert recipe.count("builtin:") == 4 and "accuracy" in recipe
    assert (folder / "runs" / "books" / "report.html").is_file()
    arms = sorted(path.name for path in (folder / "runs" / "books" / "arms").iterdir() if path.name.startswith("lora"))
    run(f"keeptune export runs/books --out books-model --arm {arms[0]}")


@pytest.mark.slow
def test_a_first_report_of_own_data_takes_three_commands(folder: Path) -> None:
    lines = list(shell("own-data.md"))
    said = [run(line) for line in lines[:3]]
    assert "validation rows with the largest loss: rows.jsonl, line " in " ".join(said[2].split())
    assert (folder / "runs" / "train" / "report.html").is_file()
    for line in lines[3:]:
        run(line)
    assert (folder / "runs" / "rows" / "report.html").is_file()


@pytest.mark.slow
def test_the_chat_guide_runs(folder: Path) -> None:
    said = [run(line) for line in shell("chat-data.md")]
    assert "messages" in said[0]
    assert (folder / "runs" / "train" / "report.html").is_file()
