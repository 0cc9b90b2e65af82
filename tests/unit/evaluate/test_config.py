from __future__ import annotations

import pytest

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError
from keeptune.evaluate.config import Margin, TaskConfig, TextConfig, parse_margin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (2, Margin(0.02, False)),
        ("2.5", Margin(0.025, False)),
        ("1%", Margin(0.01, True)),
        (".5 %", Margin(0.005, True)),
    ],
)
def test_margins(text: float | str, expected: Margin) -> None:
    assert parse_margin(text) == expected


@pytest.mark.parametrize("text", [0, -1, "0%", "two", "100", "1%%", float("nan")])
def test_bad_margins(text: float | str) -> None:
    with pytest.raises(ValueError, match="write points"):
        parse_margin(text)


def test_kinds_of_margin_are_not_mixed_up() -> None:
    with pytest.raises(ConfigError, match="margin='1%': a task's margin is in points: write 2, not 2%"):
        parse_recipe(TaskConfig, "data: a.jsonl\nmargin: 1%")
    with pytest.raises(ConfigError, match="recipe:2: margin=2: bits per byte have a relative margin: write 1%"):
        parse_recipe(TextConfig, "text: a.txt\nmargin: 2")


def test_one_template_may_stand_alone() -> None:
    assert parse_recipe(TaskConfig, "data: a.jsonl\ntemplates: 'x ||| y'").templates == ("x ||| y",)


def test_pack_and_templates_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="give 'pack' or 'templates', not both"):
        parse_recipe(TaskConfig, "data: a.jsonl\ntemplates: ['x ||| y']\npack: classification")


@pytest.mark.parametrize(
    ("data", "title"),
    [("sets/trec coarse.jsonl", "trec-coarse"), ("hf:owner/set:config", "set-config"), ("../a/b/", "b")],
)
def test_task_titles_are_file_names(data: str, title: str) -> None:
    assert TaskConfig(data=data).title == title
    assert TaskConfig(data=data, name="my / task").title == "my-task"


@pytest.mark.parametrize(("text", "title"), [("notes/*.txt", "notes"), ("a/grimm.txt", "grimm"), ("*.txt", "text")])
def test_text_titles(text: str, title: str) -> None:
    assert TextConfig(text=text).title == title


def test_a_text_keeps_the_shares_that_its_split_does_not_name() -> None:
    split = parse_recipe(TextConfig, "text: a.txt\nsplit: {on_leak: drop, validation: 0.1}").split
    assert (split.on_leak, split.validation, split.test) == ("drop", 0.1, 0.6)
