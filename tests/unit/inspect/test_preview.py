"""What the preview shows is what the encoder gives to the model, token for token."""

from __future__ import annotations

from typing import Any

import pytest

from keeptune.core.errors import ConfigError, ModelError
from keeptune.core.tokens import printable, visible
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded, Example
from keeptune.data.formats.recognise import ColumnSchema, recognise
from keeptune.evaluate.task_templates import plain_templates as wordings
from keeptune.inspect.preview import load_tokenizer, preview_rows

LAYOUT = recognise(["instruction", "input", "output"])
EXAMPLES = [
    Example.make({"instruction": "Add.", "input": f"{i} + {i}", "output": f"{2 * i} ü"}, path="a.jsonl", line=i + 1)
    for i in range(6)
]


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, context=128)


def test_tokens_spell_what_the_model_reads(encoder: Encoder) -> None:
    templates = wordings(LAYOUT)
    (row,) = preview_rows(EXAMPLES, templates, encoder, rows=1)
    rendered = templates.fixed(EXAMPLES[0])
    view = row.view
    assert "".join(token.text for token in view.tokens if not token.special) == rendered.prompt + rendered.completion
    trained = [token for token in view.tokens if token.kind == "trained"]
    assert "".join(token.text for token in trained) == "0 ü</s>"
    assert [token.special for token in trained] == [False] * (len(trained) - 1) + [True]
    ids = (*encoder.prompt(rendered), *encoder.completion(rendered.completion))
    assert tuple(token.id for token in view.tokens) == ids
    assert view.prompt_tokens == len(encoder.prompt(rendered))
    assert view.completion_tokens == len(encoder.completion(rendered.completion))
    assert row.boundary == "dd.↵↵0␣+␣0↵↵|0␣ü"
    assert (row.place, view.problem, view.asked) == ("a.jsonl:1", "", False)


def test_training_rows_are_shown(encoder: Encoder) -> None:
    test = Example.make({"instruction": "i", "input": "t", "output": "o"}, part="test", line=1)
    train = Example.make({"instruction": "i", "input": "s", "output": "o"}, part="train", line=2)
    assert [row.place for row in preview_rows([test, train], wordings(LAYOUT), encoder)] == [":2"]
    assert [row.place for row in preview_rows([test], wordings(LAYOUT), encoder)] == [":1"]


def test_rows_that_would_be_left_out_say_why(tokenizer: Any) -> None:
    (row,) = preview_rows(EXAMPLES, wordings(LAYOUT), Encoder(tokenizer, context=4), rows=1)
    assert "do not fit the window of 4" in row.view.problem
    spelled = Example.make({"instruction": "i", "input": "t", "output": "an end </s> inside"})
    (row,) = preview_rows([spelled], wordings(LAYOUT), Encoder(tokenizer, context=128))
    assert "end token" in row.view.problem


def test_wordings() -> None:
    row = Example.make({"instruction": "i", "input": "t", "output": ["o", "p"]})
    two = wordings(LAYOUT, ["{{ input }} ||| {{ output }}", "Now: {{ input }} ||| {{ output }}"])
    assert [rendered.prompt for rendered in two.each(row)] == ["t", "Now: t"]
    assert wordings(LAYOUT).fixed(row).references == ("o", "p")
    with pytest.raises(ConfigError):
        wordings(None)
    choice = wordings(recognise(["question", "choices", "answer"]))
    rendered = choice.fixed(Example.make({"question": "q", "choices": ["x", "y"], "answer": "y"}))
    assert (rendered.answer, [text.strip() for text in rendered.choices or ()]) == (1, ["x", "y"])
    system = wordings(recognise(["system", "instruction", "output"]))
    assert system.fixed(Example.make({"system": "s", "instruction": "i", "output": "o"})).system == "s"


def test_answers_that_differ_in_outer_spaces_are_one_choice() -> None:
    layout = ColumnSchema("classification", {"text": "text", "completion": "label"}, choices=("no", "yes", "yes "))
    row = Example.make({"text": "a", "label": "yes "})
    assert wordings(layout).fixed(row).choices == (" no", " yes")


def test_the_wording_is_named(encoder: Encoder) -> None:
    two = wordings(LAYOUT, ["{{ input }} ||| {{ output }}", "Now: {{ input }} ||| {{ output }}"])
    for row in preview_rows(EXAMPLES, two, encoder, rows=6):
        starts = "".join(token.text for token in row.view.tokens).startswith("Now")
        assert row.view.name == ("wording 2" if starts else "wording 1")


def test_a_conversation_shows_every_answer_as_trained(encoder: Encoder) -> None:
    roles = ["user", "assistant", "user", "assistant"]
    turns = [
        {"role": role, "content": text, "trained": role == "assistant"}
        for role, text in zip(roles, ["1 + 1", "2", "2 + 2", "4"], strict=True)
    ]
    fields = {"prompt": "1 + 1 2 2 + 2", "completion": "4", "messages": turns}
    layout = ColumnSchema("messages", {"prompt": "prompt", "completion": "completion"}, shape="conversations")
    (row,) = preview_rows([Example.make(fields)], wordings(layout), encoder, rows=1)
    trained = "".join(token.text for token in row.view.tokens if token.kind == "trained" and not token.special)
    assert trained == " 2 4"
    result = encoder.encode(wordings(layout).fixed(Example.make(fields)))
    assert isinstance(result, Encoded)
    assert row.view.completion_tokens == result.trained
    assert row.view.prompt_tokens + row.view.completion_tokens == len(result)


def test_control_characters_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\r\tb\n\x7f") == "a␛[2J␍\tb\n␡"
    assert visible(" \t\n\x1b") == "␣⇥↵␛"


def test_missing_model(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_load_tokenizer(tiny_folder: Any) -> None:
    tokenizer, context, lacking, pairs = load_tokenizer(str(tiny_folder))
    assert tokenizer.eos_token == "</s>"
    assert (context, lacking, pairs) == (128, frozenset(), False)
