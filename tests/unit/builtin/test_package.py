"""What ships: the model, the tasks, the recipes of the demo."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from safetensors import safe_open

from keeptune import builtin
from keeptune.core.config import read_recipe
from keeptune.core.errors import ConfigError
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.entries import TaskFile

FOLDER = Path(builtin.__file__).parent
CHOICE_TASKS = [name for name in builtin.task_names() if name not in ("orders", "prose")]


def rows_of(name: str) -> list[dict[str, object]]:
    text = builtin.task_path(name).with_suffix(".jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_weights_are_small_bf16_safetensors() -> None:
    with safe_open(builtin.model_path() / "model.safetensors", "np") as file:
        slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 (not a dict)
    sizes = [int.__mul__(*shape) if len(shape := each.get_shape()) == 2 else shape[0] for each in slices]
    assert sum(sizes) <= 8_000_000
    assert {each.get_dtype() for each in slices} == {"BF16"}


def test_the_model_loads_and_has_the_window_that_it_promises() -> None:
    from keeptune.models.load import load

    lm = load("builtin", device="cpu", precision="bf16")
    assert lm.context >= 1024
    assert lm.engine.name == "flat"
    ids = lm.tokenizer("What is 27 + 115?").input_ids
    assert ids[0] == lm.tokenizer.bos_token_id and ids.count(lm.tokenizer.bos_token_id) == 1
    assert lm.tokenizer.decode(ids, skip_special_tokens=True) == "What is 27 + 115?"


def test_the_package_data_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 20_000_000


def test_there_are_more_than_six_skills() -> None:
    assert len(CHOICE_TASKS) >= 8


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_a_skill_has_enough_items_and_its_answer_among_the_options(name: str) -> None:
    rows = rows_of(name)
    counts = Counter(str(row["part"]) for row in rows)
    assert counts["test"] >= 1500 and counts["validation"] >= 300
    for row in rows:
        options = row["options"]
        assert isinstance(options, list)
        assert len(set(options)) == len(options) >= 2
        assert row["answer"] in options


@pytest.mark.parametrize("name", builtin.task_names())
def test_no_row_stands_in_two_parts(name: str) -> None:
    if name == "prose":
        return
    own = [json.dumps({k: v for k, v in row.items() if k != "part"}, sort_keys=True) for row in rows_of(name)]
    assert len(set(own)) == len(own)


@pytest.mark.parametrize("name", builtin.task_names())
def test_a_task_file_is_read_and_finds_its_data(name: str) -> None:
    config = TaskFile(task=f"builtin:{name}").read()
    assert Path(getattr(config, "data", None) or config.text).is_file()  # type: ignore[union-attr]
    assert config.title == name


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="addition"):
        builtin.task_path("adition")


@pytest.mark.parametrize("name", ["demo", "demo-quick"])
def test_a_recipe_names_existing_tasks(name: str) -> None:
    config = read_recipe(StudyConfig, builtin.recipe_path(name))
    assert config.model == "builtin"
    for entry in (*config.target, *config.retain):
        assert isinstance(entry, TaskFile)
        assert builtin.task_path(entry.task.removeprefix("builtin:")).is_file()


def test_the_demo_judges_at_least_six_skills() -> None:
    config = read_recipe(StudyConfig, builtin.recipe_path())
    judged = {entry.task.removeprefix("builtin:") for entry in config.retain if isinstance(entry, TaskFile)}
    assert len(judged & set(CHOICE_TASKS)) >= 6
    assert config.arms == ("prompt", "full", "lora", "search")
