"""`keeptune init`: looks at a file, asks what it has to, and writes a recipe that can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from keeptune.cli.main import app
from keeptune.core.config import read_recipe
from keeptune.core.errors import ConfigError, DataError, KeeptuneError
from keeptune.evaluate.config import TaskConfig
from keeptune.inspect.draft import Answers, draft, look
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.files import check_files

TEXT = "the tall heron saw an otter cross the cold river at dawn"
KINDS: dict[str, tuple[Callable[[int], str], str]] = {
    "choices": (lambda i: ("yes", "no", "maybe")[i % 3], "accuracy"),
    "short answers": (lambda i: str(7 * i), "exact_match"),
    "texts": (lambda i: f"{TEXT} {i}", "rougeL"),
    "json": (lambda i: json.dumps({"mile": i, "animal": f"heron {i}"}), "json_f1"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(answer: Callable[[int], str], n: int = 120, name: str = "rows.jsonl") -> None:
    lines = [{"instruction": f"A heron met an otter at mile {i * i}: {i}?", "output": answer(i)} for i in range(n)]
    Path(name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def init(*arguments: str, **more: Any) -> Result:
    ended = CliRunner().invoke(app, ["init", "rows.jsonl", *arguments], **more)
    assert ended.exception is None or isinstance(ended.exception, KeeptuneError | SystemExit), ended.exception
    return ended


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_task_decides_the_metric(kind: str) -> None:
    answer, metric = KINDS[kind]
    rows(answer)
    found = look("rows.jsonl")
    assert (found.kind, found.metric) == (kind, metric)
    assert sum(found.rows.values()) == 120


def test_yes_asks_nothing_and_writes_a_recipe_that_can_be_read(folder: Path) -> None:
    rows(KINDS["choices"][0])
    ended = init("--yes")
    assert "one of 3 answers" in ended.output and ended.output.endswith("next: keeptune study rows.yaml\n")
    config = read_recipe(StudyConfig, "rows.yaml")
    check_files((*config.target, *config.retain))
    assert isinstance(config.target[0], TaskConfig) and config.target[0].metric == "accuracy"
    assert (config.model, len(config.retain)) == ("builtin", 4)
    assert "lora+replay:0.05" in config.arms or "lora+replay:5%" in config.arms
    first = Path("rows.yaml").read_text().partition("\n")[0]
    assert first == "# yaml-language-server: $schema=recipe.schema.json"
    assert "train" in json.loads(Path("recipe.schema.json").read_text())["properties"]


def test_without_a_train_part_nothing_is_trained_or_shown() -> None:
    rows(KINDS["short answers"][0])
    lines = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    parts = [{**line, "split": "validation" if n < 60 else "test"} for n, line in enumerate(lines)]
    Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in parts))
    said = init("--yes").output
    assert "0 train, 60 validation, 60 test" in said
    assert "note: No part of the rows is called train: the recipe asks prompts alone" in said
    config = read_recipe(StudyConfig, "rows.yaml")
    assert config.arms == ("prompt",) and config.prompt.shots == (0,)


def test_three_questions_at_most_and_none_that_is_answered() -> None:
    rows(KINDS["texts"][0])
    rows(KINDS["texts"][0], name="old.jsonl")
    ended = init(input="some/model\nold.jsonl standard\n2h\n")
    assert ended.output.count("]: ") == 3
    text = Path("rows.yaml").read_text()
    assert "model: some/model\n" in text and "  - {data: old.jsonl}\n  - standard\n" in text and "budget: 2h" in text
    again = init("--model", "m", "--retain", "none", "--budget", "none", "--out", "b.yaml")
    assert "]: " not in again.output
    config = read_recipe(StudyConfig, "b.yaml")
    assert (config.forgetting, config.budget) == ("harmless", None)


def test_what_is_not_decided_is_left_open() -> None:
    rows(KINDS["texts"][0])
    init("--yes", "--model", "some/model")
    assert "retain: []  # nothing yet" in Path("rows.yaml").read_text()
    assert read_recipe(StudyConfig, "rows.yaml").forgetting == "measured"


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("--retain", "missing.jsonl"), DataError, "no such file"),
        (("--budget", "soon"), ConfigError, "a number and s, min, h or d"),
        (("--field", "completion=answer"), KeeptuneError, "answer"),
    ],
)
def test_wrong_answers_are_refused_and_nothing_is_written(
    arguments: tuple[str, ...], kind: type[KeeptuneError], said: str
) -> None:
    rows(KINDS["texts"][0])
    ended = init("--yes", *arguments)
    assert isinstance(ended.exception, kind) and said in str(ended.exception)
    assert not Path("rows.yaml").exists()


def test_a_recipe_is_written_over_only_where_that_is_said() -> None:
    rows(KINDS["choices"][0])
    Path("rows.yaml").write_text("mine")
    assert isinstance(init("--yes").exception, ConfigError)
    assert Path("rows.yaml").read_text() == "mine"
    init("--yes", "--overwrite")
    assert "model: builtin" in Path("rows.yaml").read_text()


def test_copies_across_parts_and_few_rows_are_said() -> None:
    rows(KINDS["texts"][0], n=40)
    found = look("rows.jsonl")
    text = draft("rows.jsonl", found, Answers(), Path("rows.yaml"))
    assert f"Only {found.rows['test']} test rows" in text and "on_leak" not in text
    lines = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    parted = [{**line, "split": "train"} for line in lines] + [{**line, "split": "test"} for line in lines[:12]]
    parted += [{**line, "instruction": f"{line['instruction']} Why?", "split": "test"} for line in lines[12:30]]
    Path("rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in parted))
    found = look("rows.jsonl")
    assert found.leaking >= 12
    assert "split: {on_leak: drop}" in draft("rows.jsonl", found, Answers(), Path("rows.yaml"))


def test_looking_needs_no_torch() -> None:
    rows(KINDS["choices"][0])
    script = "import sys; from keeptune.inspect.draft import look; look('rows.jsonl'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
