"""Every wording of every pack is rendered, from its own field names and through a recognised layout."""

from __future__ import annotations

import re

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.examples import Example
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.prompts.pack import load_pack, packs
from keeptune.data.prompts.templates import Template, TemplateSet

FIELDS: dict[str, dict[str, object]] = {
    "classification": {"text": "The match ended in a draw.", "label": "sports"},
    "summarisation": {"document": "A: Tea?\nB: Yes please.", "summary": "B takes tea."},
    "question_answering": {
        "context": "Ada wrote the first programme.",
        "question": "Who wrote it?",
        "choices": ["Ada", "Bob"],
        "answer": "Ada",
    },
    "inference": {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
    "translation": {
        "source": "a dog",
        "source_language": "English",
        "target_language": "German",
        "target": "ein Hund",
    },
    "extraction": {"text": "Call Ada on Monday.", "wanted": "the day", "answer": "Monday"},
    "generation_from_data": {"data": {"name": "Aromi", "food": "café"}, "text": "Aromi is a café."},
}
CHOICES = {"classification": ["sports", "world"], "inference": ["entailment", "neutral", "contradiction"]}
WORDINGS = [(pack, template) for pack in FIELDS for template in load_pack(pack)]


def test_the_seven_families_are_there() -> None:
    assert packs() == tuple(sorted(FIELDS))


@pytest.mark.parametrize("pack", sorted(FIELDS))
def test_eight_different_wordings(pack: str) -> None:
    templates = load_pack(pack)
    assert len(templates) >= 8
    assert len({template.text for template in templates}) == len(templates)
    assert len({template.name for template in templates}) == len(templates)


@pytest.mark.parametrize(("pack", "template"), WORDINGS, ids=[template.name for _, template in WORDINGS])
def test_every_wording_renders(pack: str, template: Template) -> None:
    example = Example.make(FIELDS[pack])
    rendered = TemplateSet((template,), CHOICES.get(pack)).fixed(example)
    completion = str(list(FIELDS[pack].values())[-1])
    assert rendered.prompt == rendered.prompt.rstrip(" \t")
    assert rendered.completion.strip() == completion or rendered.choices is not None
    assert "{" not in rendered.prompt.replace('{"name"', "")
    assert not re.search(r" {2,}|\n{3,}", rendered.prompt)
    visible_end = not rendered.prompt[-1].isspace()
    assert rendered.completion.startswith(" ") == visible_end
    for field, value in FIELDS[pack].items():
        if isinstance(value, str) and f"{{{{ {field} }}}}" in template.text.split("|||")[0]:
            assert value in rendered.prompt
    if rendered.choices is not None:
        assert rendered.choices[rendered.answer or 0] == rendered.completion


@pytest.mark.parametrize("label", ["entailment", "neutral", "contradiction"])
def test_own_answers_of_inference_follow_the_label(label: str) -> None:
    own = [template for template in load_pack("inference") if template.answer_choices]
    assert len(own) >= 4
    for template in own:
        rendered = template.render(Example.make({**FIELDS["inference"], "label": label}))
        assert rendered.answer == ["entailment", "neutral", "contradiction"].index(label)


def test_a_label_the_wording_does_not_know() -> None:
    own = next(template for template in load_pack("inference") if template.answer_choices)
    with pytest.raises(DataError, match="not_entailment|not in list"):
        own.render(Example.make({**FIELDS["inference"], "label": "not_entailment"}))


def test_a_layout_lends_its_columns() -> None:
    layout = ColumnSchema("summary", {"document": "dialogue", "completion": "summary"})
    example = Example.make({"dialogue": "A: Hi.", "summary": "A greets."})
    for template in load_pack("summarisation", layout):
        assert "A: Hi." in template.render(example).prompt


def test_only_wordings_that_a_layout_can_fill() -> None:
    layout = ColumnSchema("question", {"question": "q", "completion": "a"})
    templates = load_pack("question_answering", layout)
    assert 4 <= len(templates) < len(load_pack("question_answering"))
    for template in templates:
        assert template.render(Example.make({"q": "Why?", "a": "So."})).completion.strip() == "So."


def test_fields_are_renamed_by_hand() -> None:
    template = load_pack("classification", fields={"text": "body", "label": "class"})[4]
    rendered = template.render(Example.make({"body": "A text.", "class": "x"}))
    assert "A text." in rendered.prompt and rendered.completion == " x"


def test_a_pack_that_does_not_fit_names_its_fields() -> None:
    layout = ColumnSchema("classification", {"text": "text", "completion": "label"})
    with pytest.raises(ConfigError, match="source_language"):
        load_pack("translation", layout)


def test_no_such_pack() -> None:
    with pytest.raises(ConfigError, match=r"no template pack 'poems'.*classification"):
        load_pack("poems")
