"""Files that a recipe names are looked for all at once, before anything is read or loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from keeptune.cli.main import app
from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError, DataError
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.files import check_files, named_entries, resolved, with_margins


@pytest.fixture
def there(tmp_path: Path) -> Path:
    rows = [{"frage": f"How much is {i} and {7 * i}?", "antwort": str(8 * i)} for i in range(60)]
    (tmp_path / "there.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_all_missing_files_are_named_at_once(there: Path) -> None:
    recipe = {
        "model": "nowhere",
        "target": {"data": "there.jsonl"},
        "retain": [{"data": "b.jsonl"}, {"text": "c.txt"}, {"data": "there.jsonl", "pack": "p.yaml"}],
        "held_out": {"task": str(there / "t.yaml")},
    }
    config = parse_recipe(StudyConfig, yaml.safe_dump(recipe), source="recipe")
    with pytest.raises(DataError, match="and so with 3 more") as error:
        check_files((*config.target, *config.retain, *config.held_out), there)
    assert all(name in str(error.value) for name in ("b.jsonl", "c.txt", "p.yaml", "t.yaml"))
    check_files(config.target, there)


def test_a_missing_task_is_said_before_a_model_is_looked_for(there: Path) -> None:
    ended = CliRunner().invoke(app, ["evaluate", "--model", "nowhere", "--task", str(there / "b.jsonl")])
    assert isinstance(ended.exception, DataError)


def test_evaluate_maps_columns_as_its_error_advises(there: Path) -> None:
    arguments = ["evaluate", "--model", "builtin", "--task", str(there / "there.jsonl"), "--limit", "2"]
    ended = CliRunner().invoke(app, arguments)
    assert "--field prompt=COLUMN --field completion=COLUMN" in str(ended.exception)
    ended = CliRunner().invoke(app, [*arguments, "--field", "prompt=frage", "--field", "completion=antwort"])
    assert ended.exit_code == 0, ended.output


def test_a_margin_of_one_suite_leaves_the_others(there: Path) -> None:
    specs = [str(there / "there.jsonl"), "builtin:addition", "builtin:prose", "builtin:addition"]
    entries = named_entries(specs, margin=2, fields={"prompt": "frage", "completion": "antwort"})
    given = with_margins(entries, {"addition": "4", "prose": "2%"})
    assert [resolved(entry).margin for entry in given] == [2, "4", "2%", "4"]
    assert with_margins(entries, {}) == entries
    with pytest.raises(ConfigError, match="no suite 'subtraction'"):
        with_margins(entries, {"subtraction": "4"})
