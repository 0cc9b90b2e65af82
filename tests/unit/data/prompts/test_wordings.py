"""Files of wordings that others wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError, DataError, KeeptuneError
from keeptune.data.examples import Example
from keeptune.data.prompts.templates import Template, TemplateSet
from keeptune.data.prompts.wordings import is_wordings_file, load_wordings
from keeptune.evaluate.task import build_task
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.entries import relative_to

PROMPTSOURCE = """
dataset: weather
templates:
  1f0c: !Template
    answer_choices: bad ||| good
    id: 1f0c
    jinja: '{{text}} Is it good or bad? ||| {{ answer_choices [label] }}'
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics:
      - Accuracy
      original_task: true
    name: question
    reference: ''
  2a77: !Template
    answer_choices: null
    id: 2a77
    jinja: "{% if label == 1 %}\\nIt is {{ ['fine', 'fair'] | choice }}:\\n|||\\n{{text}}\\n{% endif %}"
    metadata: !TemplateMetadata {}
    name: only good days
    reference: ''
"""


def row(**fields: object) -> Example:
    return Example.make(fields, path="rows.jsonl", line=7)


@pytest.fixture
def promptsource(tmp_path: Path) -> Path:
    file = tmp_path / "weather" / "templates.yaml"
    file.parent.mkdir()
    file.write_text(PROMPTSOURCE)
    return file


def test_promptsource(promptsource: Path) -> None:
    question, good = load_wordings(str(promptsource))
    assert (question.name, good.name) == ("weather/question", "weather/only good days")
    rendered = question.render(row(text="Sun.", label=1))
    assert rendered.prompt == "Sun. Is it good or bad?"
    assert (rendered.completion, rendered.choices, rendered.answer) == (" good", (" bad", " good"), 1)
    assert question.render(row(text="Rain.", label="bad")).completion == " bad"  # the label by its text
    drawn = {good.render(row(text="Sun.", label=1)).prompt for _ in range(5)}
    assert len(drawn) == 1  # choice draws from the values, not anew


def test_a_wording_that_is_not_for_a_row_gives_way_to_the_next(promptsource: Path) -> None:
    wordings = TemplateSet(load_wordings(str(promptsource))[::-1])
    assert wordings.fixed(row(text="Rain.", label=0)).prompt == "Rain. Is it good or bad?"
    assert wordings.fixed(row(text="Sun.", label=1)).prompt.startswith("\nIt is")
    assert len(list(wordings.each(row(text="Rain.", label=0)))) == 1
    rows = [row(text=f"Rain {i}.", label=0) for i in range(20)]
    assert all(wordings.for_training(each, seed=1).completion == " bad" for each in rows)
    with pytest.raises(DataError, match="prints nothing for this row"):
        TemplateSet(wordings.templates[:1]).fixed(rows[0])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "Sun.", "label": -1}, "label -1 marks a row without a label"),
        ({"text": "Sun.", "label": "great"}, "label 'great' is not among the choices 'bad', 'good'"),
        ({"sentence": "Sun.", "label": 1}, "'text' is undefined"),
    ],
)
def test_what_a_row_lacks_is_said(fields: dict[str, object], said: str, promptsource: Path) -> None:
    with pytest.raises(DataError, match=said) as caught:
        load_wordings(str(promptsource))[0].render(row(**fields))
    assert "rows.jsonl" in str(caught.value) and "7" in str(caught.value)


def test_columns_of_other_names(promptsource: Path) -> None:
    question = load_wordings(str(promptsource), {"text": "input", "label": "output"})[0]
    assert question.render(row(input="Rain.", output=0)).prompt == "Rain. Is it good or bad?"
    assert question.render(row(input="Rain.", output=0)).completion == " bad"


def test_pairs_as_flan_has_them(tmp_path: Path) -> None:
    pairs = [["{premise}\n\nDoes it follow that {hypothesis}?", "{answer}"], ['As {{"a": 1}}: {premise}', "{answer}"]]
    file = tmp_path / "rte.json"
    file.write_text(json.dumps(pairs))
    first, second = load_wordings(str(file))
    example = row(premise="It {{ rains }}.", hypothesis="it is wet", answer="yes")
    assert first.render(example).prompt == "It {{ rains }}.\n\nDoes it follow that it is wet?"
    assert second.render(example).prompt == 'As {"a": 1}: It {{ rains }}.'
    assert second.render(example).completion == " yes"


def test_a_file_of_several_tasks_asks_which(tmp_path: Path) -> None:
    file = tmp_path / "patterns.yaml"
    file.write_text(yaml.safe_dump({"rte": [["{a}?", "{b}"]], "cb": [["{a}!", "{b}"]]}))
    assert load_wordings(f"{file}:cb")[0].render(row(a="So", b="yes")).prompt == "So!"
    with pytest.raises(ConfigError, match=r"several tasks.*patterns\.yaml:rte"):
        load_wordings(str(file))
    with pytest.raises(ConfigError, match="no task 'wic'"):
        load_wordings(f"{file}:wic")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("templates: {a: !Template {name: x}}", "without 'jinja'"),
        ("templates: {a: !Template {name: x, jinja: '{{ text }}'}}", r"no '\|\|\|'"),
        ("templates: {a: !Template {name: x, jinja: '{{ text ||| }'}}", "cannot be used"),
        ("templates: {a: !!python/object/apply:os.system ['true']}", "no YAML"),
        ("templates: {}", "without wordings"),
        ("- [a", "no YAML"),
        ("just text", "neither"),
        ("- ['{a}']", "not a pair"),
        ("- ['{a.__class__}', '{b}']", "not a column's name"),
        ("- ['{a!r}', '{b}']", "not a column's name"),
        ("- ['{a', '{b}']", "expected '}'"),
        ("", "neither"),
    ],
)
def test_files_that_cannot_be_used(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "wordings.yaml"
    file.write_text(content)
    with pytest.raises(KeeptuneError, match=said) as caught:
        load_wordings(str(file))
    assert "wordings.yaml" in str(caught.value) and caught.value.remedy


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read wordings"):
        load_wordings(str(tmp_path / "none.yaml"))


def test_in_a_recipe(promptsource: Path) -> None:
    rows = [{"text": f"Day {i} was long and {'sunny' if i % 2 else 'wet'}.", "label": i % 2} for i in range(60)]
    (promptsource.parent / "days.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    recipe = {"model": "builtin", "target": {"data": "days.jsonl", "pack": "templates.yaml"}}
    (entry,) = parse_recipe(StudyConfig, yaml.safe_dump(recipe)).target
    task = build_task(relative_to(entry, promptsource.parent))  # type: ignore[arg-type]
    assert task.request == "choices"
    assert task.templates is not None and len(task.templates.templates) == 2
    assert is_wordings_file("a/b.yaml:rte") and not is_wordings_file("summarisation")
    assert isinstance(task.templates.templates[0], Template)
