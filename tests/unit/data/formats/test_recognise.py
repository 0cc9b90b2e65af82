"""Which columns are read as what, and what the error says where none or several readings fit."""

from __future__ import annotations

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.formats.recognise import PATTERNS, columns_of, recognise

CASES = [
    ("prompt completion", "prompt-completion: prompt -> completion"),
    ("instruction input output", "instruction: instruction + input -> output"),
    ("task instruction input output outputs split", "instruction: instruction + input -> output"),
    ("instruction input outputs", "instruction: instruction + input -> outputs"),
    ("instruction input output system history", "instruction: system + instruction + input -> output"),
    ("instruction input output text", "instruction: instruction + input -> output"),
    ("instruction context response category", "instruction: instruction + context -> response"),
    ("instruction response", "instruction: instruction -> response"),
    ("prompt input output", "instruction: prompt + input -> output"),
    ("system prompt context answer", "instruction: system + prompt + context -> answer"),
    ("question answer", "question: question -> answer"),
    ("id title context question answers", "question: context + question -> answers"),
    ("question choices answer", "question: question + choices -> answer"),
    ("id question choices answerKey", "question: question + choices -> answerKey"),
    ("question answer answers", "question: question -> answer"),
    ("query response", "question: query -> response"),
    ("problem solution level", "question: problem -> solution"),
    ("passage question answer", "question: passage + question -> answer"),
    ("premise hypothesis label", "inference: premise + hypothesis -> label"),
    ("sentence1 sentence2 label idx", "inference: sentence1 + sentence2 -> label"),
    ("id dialogue summary topic", "summary: dialogue -> summary"),
    ("fname dialogue summary1 summary2 summary3", "summary: dialogue -> summary1"),
    ("article highlights id", "summary: article -> highlights"),
    ("text summary title", "summary: text -> summary"),
    ("text label", "classification: text -> label"),
    ("Text Label", "classification: Text -> Label"),
    ("text label label_text", "classification: text -> label_text"),
    ("text label category", "classification: text -> label"),
    ("review sentiment", "classification: review -> sentiment"),
    ("sentence label idx", "classification: sentence -> label"),
    ("source target", "source-target: source -> target"),
    ("input output", "source-target: input -> output"),
    ("input output source subset", "source-target: input -> output"),
    ("prompt response", "source-target: prompt -> response"),
    ("original simplifications", "source-target: original -> simplifications"),
    ("src tgt", "source-target: src -> tgt"),
]


@pytest.mark.parametrize(("columns", "reading"), CASES)
def test_reading(columns: str, reading: str) -> None:
    layout = recognise(columns.split())
    assert layout.describe() == reading
    assert list(layout.roles)[-1] == "completion"
    assert {*layout.roles.values(), *layout.references, *layout.metadata} == set(columns.split())


def test_every_pattern_is_tried() -> None:
    assert {pattern.name for pattern in PATTERNS} == {reading.split(":")[0] for _, reading in CASES}


def test_order_of_columns_plays_no_role() -> None:
    for columns, reading in CASES:
        if "summary1" not in columns:
            assert recognise(columns.split()[::-1]).describe() == reading


def test_further_references() -> None:
    assert recognise(["instruction", "output", "outputs"]).references == ("outputs",)
    assert recognise(["dialogue", "summary", "summary2", "summary3"]).references == ("summary2", "summary3")
    assert recognise(["text", "label", "labels"]).references == ("labels",)


def test_only_raw_rows_are_left_as_they_are() -> None:
    assert recognise(["prompt", "completion"]).raw
    assert not recognise(["prompt", "response"]).raw


@pytest.mark.parametrize(
    ("columns", "message", "remedy"),
    [
        ("messages", "no format fits the columns 'messages'", "nearest format: messages"),
        ("conversations tools", "'conversations', 'tools'", "nearest format: sharegpt"),
        ("prompt chosen rejected", "preference pairs", "chosen answer"),
        ("input_ids attention_mask labels", "'attention_mask'", "nearest format: tokenised"),
        ("text", "'text'", "nearest layout: summary"),
        ("instruction inputs", "no layout fits the columns 'instruction', 'inputs'", "nearest layout: instruction"),
        ("question title", "'question', 'title'", "nearest layout: question, which has 'question' and misses the comp"),
        ("alpha beta", "'alpha', 'beta'", "--field prompt=COLUMN --field completion=COLUMN"),
        ("text summary label", "can be read in 2 ways", "--field"),
        (
            "question answer solution",
            "several columns may be the completion: 'answer', 'solution'",
            "--field completion=",
        ),
        ("instruction output response", "'output', 'response'", "--field completion="),
        ("text sentiment category", "'sentiment', 'category'", "--field completion="),
    ],
)
def test_no_single_reading(columns: str, message: str, remedy: str) -> None:
    with pytest.raises(DataError) as error:
        recognise(columns.split(), path="rows.jsonl")
    assert message in error.value.message
    assert remedy in str(error.value.remedy)
    assert str(error.value).startswith("rows.jsonl: ")


def test_the_users_map_decides() -> None:
    columns = ["q", "a", "answer", "question"]
    layout = recognise(columns, fields={"completion": "a", "prompt": "q"})
    assert layout.describe() == "source-target: q -> a"
    assert layout.metadata == ("answer", "question")
    assert recognise(columns, fields={"question": "q", "completion": "a"}).name == "question"
    assert recognise(columns, fields={"clue": "q", "completion": "a"}).describe() == "custom: q -> a"
    assert recognise(columns, fields={"completion": "a"}).prompt_columns == ()
    with pytest.raises(ConfigError, match=r"fields\.completion names the column 'b'.*'q', 'a'"):
        recognise(columns, fields={"completion": "b"})
    with pytest.raises(ConfigError, match="no completion"):
        recognise(columns, fields={"prompt": "q"})


def test_columns_of() -> None:
    assert columns_of([{"a": 1, "b": 2}, {"c": 3, "a": 4}]) == ["a", "b", "c"]
