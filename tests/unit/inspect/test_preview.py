"""What the preview shows is what the encoder gives to the model, token for token."""

from __future__ import annotations

from typing import Any

import pytest

from keeptune.core.errors import ConfigError, ModelError
from keeptune.core.tokens import printable, visible
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded, Example
from keeptune.data.formats.recognise import ColumnSchema, recognise
from keeptune.inspect.preview import load_tokenizer, preview_rows, segments, wordings

LAYOUT = recognise(["instruction", "input", "output"])
EXAMPLES = [
    Example.make({"instruction": "Add.", "input": f"{i} + {i}", "output": f"{2 * i} ü"}, path="a.jsonl", line=i + 1)
    for i in range(6)
]


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, context=128)


def test_segments_spell_what_the_model_reads(encoder: Encoder) -> None:
    templates = wordings(LAYOUT)
    (row,) = preview_rows(EXAMPLES, templates, encoder, rows=1)
    rendered = templates.fixed(EXAMPLES[0])
    plain = [segment for segment in row.segments if not segment.special]
    assert "".join(segment.text for segment in plain) == rendered.prompt + rendered.completion
    trained = [segment for segment in row.segments if segment.kind == "trained"]
    assert [(segment.text, segment.special) for segment in trained] == [("0 ü", False), ("</s>", True)]
    assert row.prompt_tokens == len(encoder.prompt(rendered))
    assert row.completion_tokens == len(encoder.completion(rendered.completion))
    assert row.boundary == "dd.↵↵0␣+␣0↵↵|0␣ü"
    assert (row.place, row.problem, row.shots) == ("a.jsonl:1", None, 0)


def test_shots_are_other_rows_and_nothing_is_trained(encoder: Encoder) -> None:
    templates = wordings(LAYOUT)
    first, again = (preview_rows(order, templates, encoder, rows=6, shots=2) for order in (EXAMPLES, EXAMPLES[::-1]))
    assert {row.id: row.segments for row in first} == {row.id: row.segments for row in again}
    text = "".join(segment.text for segment in first[0].segments)
    assert text.count("Add.") == 3
    assert text.count("0 + 0") == 1
    assert {segment.kind for segment in first[0].segments} == {"prompt", "expected"}
    assert first[0].shots == 2
    for i, row in enumerate(preview_rows(EXAMPLES, templates, encoder, rows=6, shots=99)):
        assert row.shots == 5
        assert "".join(segment.text for segment in row.segments).count(f"{i} + {i}") == 1


def test_training_rows_are_shown(encoder: Encoder) -> None:
    test = Example.make({"instruction": "i", "input": "t", "output": "o"}, part="test")
    train = Example.make({"instruction": "i", "input": "s", "output": "o"}, part="train")
    assert [row.id for row in preview_rows([test, train], wordings(LAYOUT), encoder)] == [train.id]
    assert [row.id for row in preview_rows([test], wordings(LAYOUT), encoder)] == [test.id]


def test_rows_that_would_be_left_out_say_why(tokenizer: Any) -> None:
    (row,) = preview_rows(EXAMPLES, wordings(LAYOUT), Encoder(tokenizer, context=4), rows=1)
    assert row.problem is not None
    assert "do not fit the window of 4" in row.problem
    spelled = Example.make({"instruction": "i", "input": "t", "output": "an end </s> inside"})
    (row,) = preview_rows([spelled], wordings(LAYOUT), Encoder(tokenizer, context=128))
    assert "end token" in str(row.problem)


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
        starts = "".join(segment.text for segment in row.segments).startswith("Now")
        assert row.wording == ("wording 2" if starts else "wording 1")


def test_a_conversation_shows_every_answer_as_trained(encoder: Encoder) -> None:
    roles = ["user", "assistant", "user", "assistant"]
    turns = [
        {"role": role, "content": text, "trained": role == "assistant"}
        for role, text in zip(roles, ["1 + 1", "2", "2 + 2", "4"], strict=True)
    ]
    fields = {"prompt": "1 + 1 2 2 + 2", "completion": "4", "messages": turns}
    layout = ColumnSchema("messages", {"prompt": "prompt", "completion": "completion"}, shape="conversations")
    (row,) = preview_rows([Example.make(fields)], wordings(layout), encoder, rows=1)
    trained = [segment.text for segment in row.segments if segment.kind == "trained" and not segment.special]
    assert trained == [" 2", " 4"]
    result = encoder.encode(wordings(layout).fixed(Example.make(fields)))
    assert isinstance(result, Encoded)
    assert row.completion_tokens == result.trained
    assert row.prompt_tokens + row.completion_tokens == len(result)
    (shot,) = preview_rows([Example.make(fields), *EXAMPLES[:0]], wordings(layout), encoder, rows=1, shots=1)
    assert shot.shots == 0  # nothing else to show


def test_segments_keep_spaces_and_split_at_specials(tokenizer: Any) -> None:
    ids = [*tokenizer("a b")["input_ids"], tokenizer.eos_token_id, *tokenizer(" c")["input_ids"]]
    found = [(segment.text, segment.special) for segment in segments(tokenizer, ids, "prompt")]
    assert found == [("a b", False), ("</s>", True), (" c", False)]
    assert segments(tokenizer, [], "prompt") == []


def test_control_characters_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\r\tb\n\x7f") == "a␛[2J␍\tb\n␡"
    assert visible(" \t\n\x1b") == "␣⇥↵␛"


def test_missing_model(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))


def test_load_tokenizer(tiny_folder: Any) -> None:
    tokenizer, context, lacking = load_tokenizer(str(tiny_folder))
    assert tokenizer.eos_token == "</s>"
    assert (context, lacking) == (128, frozenset())
