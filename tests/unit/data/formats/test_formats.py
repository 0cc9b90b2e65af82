"""Rows of other tools' formats, written as those tools write them: what they are read as, and when we ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.formats.detect import format_names
from keeptune.data.load import Loaded, load_examples

TALK = [("user", "What is 2 + 2?"), ("assistant", "4"), ("user", "And 3 + 3?"), ("assistant", "6")]
OPENAI = [{"role": role, "content": text} for role, text in TALK]
SHAREGPT = [{"from": {"user": "human", "assistant": "gpt"}[role], "value": text} for role, text in TALK]
BLOCKS = [{"role": role, "content": [{"type": "text", "value": text}]} for role, text in TALK]
TASK_FILE = {
    "Contributors": ["someone"],
    "Definition": ["Say the opposite of the word."],
    "Positive Examples": [{"input": "hot", "output": "cold", "explanation": "they are opposites"}],
    "Negative Examples": [],
    "Instances": [
        {"id": "t-1", "input": "wet", "output": ["dry"]},
        {"id": "t-2", "input": "big", "output": ["small", "little"]},
    ],
}
OLD_TASK_FILE = {
    "Title": "Opposites",
    "Definition": "Say the opposite of the word.",
    "Examples": {"Positive Examples": [{"input": "hot", "output": "cold"}], "Negative Examples": []},
    "Instances": [{"input": "wet", "output": ["dry"]}],
}


def load(tmp_path: Path, rows: Any, name: str = "rows.json", **options: Any) -> Loaded:
    path = tmp_path / name
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return load_examples(str(path), **options)


@pytest.mark.parametrize(
    ("row", "name", "prompt", "completion"),
    [
        ({"messages": OPENAI}, "messages", "User: What is 2 + 2?\n\nAssistant: 4\n\nUser: And 3 + 3?", "6"),
        ({"dialog": BLOCKS}, "messages", "User: What is 2 + 2?\n\nAssistant: 4\n\nUser: And 3 + 3?", "6"),
        ({"conversations": SHAREGPT}, "sharegpt", "User: What is 2 + 2?\n\nAssistant: 4\n\nUser: And 3 + 3?", "6"),
        ({"conversations": SHAREGPT[:2], "id": "x"}, "sharegpt", "What is 2 + 2?", "4"),
        ({"conversation": [{"human": "What is 2 + 2?", "assistant": "4"}]}, "turn-pairs", "What is 2 + 2?", "4"),
        (
            {"instruction": "Add", "input": "3 + 3", "output": "6", "history": [["2 + 2", "4"]]},
            "instruction-history",
            "User: 2 + 2\n\nAssistant: 4\n\nUser: Add\n3 + 3",
            "6",
        ),
        ({"prompt": OPENAI[:1], "completion": OPENAI[1:2]}, "prompt-completion-messages", "What is 2 + 2?", "4"),
        (
            {"segments": [{"label": False, "text": "Q: 2 + 2 A:"}, {"label": True, "text": " 4"}]},
            "segments",
            "Q: 2 + 2 A:",
            " 4",
        ),
        (
            {"input_ids": [1, 5, 6, 2, 0], "labels": [-100, -100, 6, 2, -100], "attention_mask": [1, 1, 1, 1, 0]},
            "tokenised",
            "1 5",
            "6 2",
        ),
        ({"text": "Once upon a time.", "url": "u"}, "text", None, "Once upon a time."),
        ({"prompt": "a", "completion": "b"}, "prompt-completion", "a", "b"),
    ],
)
def test_a_format_is_recognised(tmp_path: Path, row: dict[str, Any], name: str, prompt: str, completion: str) -> None:
    loaded = load(tmp_path, [row])
    assert loaded.layout is not None
    assert loaded.layout.name == name
    assert loaded.layout.describe().startswith(f"{name}: ")
    (example,) = loaded.examples
    assert example.fields.get("prompt") == prompt
    assert example.fields["completion"] == completion
    named = load(tmp_path, [row], format=name)
    assert [each.id for each in named.examples] == [example.id]


def test_a_system_turn_is_a_field_and_may_be_a_column(tmp_path: Path) -> None:
    inside = [{"from": "system", "value": "Be brief."}, *SHAREGPT]
    first = load(tmp_path, [{"conversations": inside}]).examples[0]
    second = load(tmp_path, [{"conversations": SHAREGPT, "system": "Be brief."}]).examples[0]
    assert first.fields["system"] == "Be brief."
    assert first.id == second.id


def test_a_history_may_have_a_system_prompt_a_context_and_tools(tmp_path: Path) -> None:
    row = {
        "instruction": "Add",
        "context": "3 + 3",
        "output": "6",
        "history": [["2 + 2", "4"]],
        "system_prompt": "Be brief.",
    }
    fields = load(tmp_path, [{**row, "tools": [{"name": "add"}]}]).examples[0].fields
    assert (fields["system"], fields["prompt"]) == ("Be brief.", "User: 2 + 2\n\nAssistant: 4\n\nUser: Add\n3 + 3")
    assert fields["tools"] == [{"type": "function", "function": {"name": "add"}}]


def test_tool_calls_of_both_spellings_are_one(tmp_path: Path) -> None:
    call = {"name": "add", "arguments": {"a": 3, "b": 3}}
    described = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
    sharegpt = [
        {"from": "human", "value": "3 + 3?"},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "6"},
        {"from": "gpt", "value": "It is 6."},
    ]
    openai = [
        {"role": "user", "content": "3 + 3?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": '{"a": 3, "b": 3}'}}],
        },
        {"role": "tool", "content": "6"},
        {"role": "assistant", "content": "It is 6."},
    ]
    first = load(tmp_path, [{"conversations": sharegpt, "tools": json.dumps([described])}])
    second = load(tmp_path, [{"messages": openai, "tools": [{"type": "function", "function": described}]}])
    assert first.examples[0].id == second.examples[0].id
    fields = first.examples[0].fields
    assert fields["messages"][1]["tool_calls"] == [{"type": "function", "function": call}]
    assert fields["prompt"] == ('User: 3 + 3?\n\nAssistant: {"name": "add", "arguments": {"a": 3, "b": 3}}\n\nTool: 6')
    assert fields["completion"] == "It is 6."
    assert first.notes == ("2 of 2 assistant turns are learned from (all)",)


def test_arguments_of_other_calls_in_a_parquet_file_are_no_arguments(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    calls = [[{"name": "f", "arguments": arguments}] for arguments in ({"a": 1}, {"b": 2})]
    turns = [[OPENAI[0], {"role": "assistant", "content": "", "tool_calls": call}] for call in calls]
    pq.write_table(pa.table({"messages": turns}), tmp_path / "rows.parquet")
    rows = load_examples(str(tmp_path / "rows.parquet")).examples
    assert [json.loads(row.fields["completion"])["arguments"] for row in rows] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("key", "off", "on"),
    [("weight", 0, 1), ("loss_weight", 0.0, 1.0), ("training", False, True), ("loss", False, True)],
)
def test_weights_decide_where_they_are_given(tmp_path: Path, key: str, off: Any, on: Any) -> None:
    messages = [dict(turn) for turn in OPENAI]
    messages[1][key], messages[3][key] = off, on
    trained = {}
    for supervise in (None, "weights", "all", "last"):
        loaded = load(tmp_path, [{"messages": messages}], supervise=supervise)
        trained[supervise] = [turn["trained"] for turn in loaded.examples[0].fields["messages"][1::2]]
    assert trained == {None: [False, True], "weights": [False, True], "all": [True, True], "last": [False, True]}


def test_weights_inside_a_completion_decide_too(tmp_path: Path) -> None:
    completion = [{**OPENAI[1], "weight": 0}, *OPENAI[2:]]
    example = load(tmp_path, [{"prompt": OPENAI[:1], "completion": completion}]).examples[0]
    assert [turn["trained"] for turn in example.fields["messages"][1::2]] == [False, True]


def test_turns_behind_the_last_trained_one_are_left_out(tmp_path: Path) -> None:
    messages = [dict(turn) for turn in OPENAI]
    messages[3]["weight"] = 0
    example = load(tmp_path, [{"messages": messages}]).examples[0]
    assert [turn["content"] for turn in example.fields["messages"]] == ["What is 2 + 2?", "4"]
    assert example.fields["completion"] == "4"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([("assistant", "hello")], r"no assistant turn is trained"),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], r"turn 2 \(user\) comes after user"),
        ([("user", "a"), ("assistant", "b"), ("assistant", "c")], r"turn 3 \(assistant\) comes after assistant"),
        ([("user", "a"), ("tool", "b"), ("assistant", "c")], r"turn 2 \(tool\) comes after user"),
        ([("system", "a"), ("system", "b"), ("user", "c")], r"turn 2 \(system\) comes after system"),
        ([("user", "a"), ("narrator", "b")], "unknown role 'narrator'"),
        ([("user", "a"), ("assistant", "")], r"'messages\[1\]' \(assistant\) is empty"),
        ([("user", "a")], "no assistant turn"),
        ([("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "b")], "block of type 'image_url'"),
        ([("user", 3), ("assistant", "b")], "neither a text nor a list"),
    ],
)
def test_a_broken_conversation_is_refused_with_its_line(tmp_path: Path, messages: Any, reason: str) -> None:
    rows = [{"messages": [{"role": role, "content": content} for role, content in messages]}]
    with pytest.raises(DataError, match=reason) as error:
        load(tmp_path, rows)
    assert error.value.line == 1


def test_one_broken_conversation_among_many_is_set_aside(tmp_path: Path) -> None:
    rows = [{"messages": [{**OPENAI[0], "content": f"{n}?"}, OPENAI[1]]} for n in range(40)]
    rows.insert(7, {"messages": "gone"})  # type: ignore[dict-item]
    loaded = load(tmp_path, rows)
    assert len(loaded.examples) == 40
    assert [(bad.reason, bad.line) for bad in loaded.quarantined] == [("field 'messages' holds no turns", 1)]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"weight": 0.5}, "weight 0.5; only 0 and 1"),
        ({"weight": 0}, "all have weight 0"),
        ({"training_detail": [{"begin_offset": 0, "end_offset": 0, "train": False}]}, "as a whole or not at all"),
        ({"content": "", "tool_calls": [{"function": {"arguments": "{}"}}]}, "without a name"),
        ({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "should hold JSON"),
    ],
)
def test_weights_and_calls_that_mean_nothing(tmp_path: Path, message: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        load(tmp_path, [{"messages": [OPENAI[0], {**OPENAI[1], **message}]}])


@pytest.mark.parametrize("task", [TASK_FILE, OLD_TASK_FILE])
def test_a_task_file_gives_its_instances(tmp_path: Path, task: dict[str, Any]) -> None:
    loaded = load(tmp_path, task)
    assert loaded.layout is not None
    assert loaded.layout.name == "natural-instructions"
    fields = loaded.examples[0].fields
    assert fields["instruction"] == "Say the opposite of the word."
    assert (fields["input"], fields["completion"]) == ("wet", "dry")
    assert fields["positive_examples"][0]["output"] == "cold"
    assert [example.line for example in loaded.examples] == list(range(1, len(task["Instances"]) + 1))
    if task is TASK_FILE:
        assert loaded.examples[1].fields["completion"] == ["small", "little"]


def test_rows_with_instances_of_their_own(tmp_path: Path) -> None:
    rows = [{"instruction": f"Do {n}.", "instances": [{"input": "", "output": f"done {n}"}]} for n in range(3)]
    loaded = load(tmp_path, rows)
    assert [example.fields["completion"] for example in loaded.examples] == ["done 0", "done 1", "done 2"]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"messages": OPENAI, "prompt": "a", "completion": "b"}, ("messages", "prompt-completion")),
        ({"messages": OPENAI, "conversations": SHAREGPT}, ("messages", "sharegpt")),
        ({"text": "a b", "input_ids": [3, 4], "labels": [3, 4]}, ("tokenised", "classification")),
    ],
)
def test_two_formats_ask(tmp_path: Path, row: dict[str, Any], names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=f"fit 2 formats: {', '.join(names)}") as error:
        load(tmp_path, [row])
    for name in names:
        assert f"--format {name}" in str(error.value.remedy)
    loaded = load(tmp_path, [row], format=names[0])
    assert loaded.layout is not None
    assert loaded.layout.name == names[0]


def test_a_format_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not of the format 'sharegpt'") as error:
        load(tmp_path, [{"messages": OPENAI}], format="sharegpt")
    assert "they fit messages" in str(error.value.remedy)
    with pytest.raises(ConfigError, match="no format 'alpaca'") as unknown:
        load(tmp_path, [{"messages": OPENAI}], format="alpaca")
    assert all(name in str(unknown.value.remedy) for name in format_names())
    with pytest.raises(DataError, match="no layout fits"):
        load(tmp_path, [{"question": "a", "answer": "b"}], format="summary")
    with pytest.raises(ConfigError, match="turns of conversations"):
        load(tmp_path, [{"question": "a", "answer": "b"}], supervise="last")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"conversations": SHAREGPT, "chosen": "a", "rejected": "b"}, "preference pairs"),
        ({"chosen_messages": OPENAI, "rejected_messages": OPENAI}, "preference pairs"),
        ({"messages": OPENAI, "label": True}, "judged answers"),
        ({"prompt": "a", "completion": "b", "label": False}, "judged answers"),
        ({"prompt": "a", "completions": ["b", "c"], "labels": [True, False]}, "judged answers"),
        ({"instruction": "a", "output": "b", "kto_tag": True}, "judged answers"),
        ({"question": "a", "answer": "b", "label": 0}, "judged answers"),
        ({"messages": OPENAI, "images": ["a.jpg"]}, "pictures, sound or video in 'images'"),
        ({"a": {"file_name": "a.json"}, "b": {"hf_hub_url": "x/y"}}, "lists data sets"),
        ({"messages": "hello"}, "no format fits"),
        ({"input_ids": [3, 4], "labels": [5, 4]}, "label 5 at token 0 is neither"),
        ({"input_ids": [3, 4], "labels": [-100, -100]}, "no token is supervised"),
        ({"input_ids": [3, 4], "labels": None}, "'labels' or 'attention_mask' is not a list"),
        ({"input_ids": [3, 4], "labels": []}, "2 input_ids, 0 labels"),
        ({"input_ids": [3, 4], "labels": [3]}, "2 input_ids, 1 labels"),
        ({"segments": [{"label": False, "text": "a"}]}, "no segment to learn from"),
        ({"segments": [{"label": "yes", "text": "a"}]}, "true or false was expected"),
        ({"text": " "}, "not a text, or empty"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, [row])


def test_a_number_beside_choices_is_no_judgement(tmp_path: Path) -> None:
    row = {"question": "a", "choices": ["b", "c"], "answer": "b", "label": 1}
    assert load(tmp_path, [row]).examples[0].fields["answer"] == "b"


def test_empty_pictures_are_no_pictures(tmp_path: Path) -> None:
    assert load(tmp_path, [{"messages": OPENAI, "images": []}]).examples


def turns_of(tmp_path: Path, *messages: dict[str, Any], **row: Any) -> list[dict[str, Any]]:
    (example,) = load(tmp_path, [{"messages": list(messages), **row}]).examples
    return list(example.fields["messages"])


ASK, SAY = {"role": "user", "content": "And 3 + 3?"}, {"role": "assistant", "content": "6"}


@pytest.mark.parametrize("key", ["trainable", "loss_mask", "train", "weight", "loss"])
@pytest.mark.parametrize(("no", "yes"), [(False, True), (0, 1)])
def test_messages_say_which_are_learned_from(tmp_path: Path, key: str, no: Any, yes: Any) -> None:
    found = turns_of(tmp_path, ASK, {**SAY, key: no}, ASK, {**SAY, key: yes})
    assert [turn["trained"] for turn in found] == [False, False, False, True]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_read_under_every_name(tmp_path: Path, key: str) -> None:
    assert turns_of(tmp_path, ASK, {**SAY, key: "Twice 3."})[1]["reasoning_content"] == "Twice 3."


@pytest.mark.parametrize("key", ["arguments", "parameters", "args"])
def test_arguments_of_calls_are_read_under_every_name(tmp_path: Path, key: str) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "w", key: {"city": "Rome"}}}]}
    found = turns_of(tmp_path, ASK, call, {"role": "tool", "content": "3"}, SAY)
    assert found[1]["tool_calls"][0]["function"]["arguments"] == {"city": "Rome"}


@pytest.mark.parametrize(
    "key", ["is_trained", "train_mask", "lossWeight", "thoughts_reasoning", "supervised", "functions", "tools"]
)
def test_keys_that_sound_as_if_they_mattered_are_refused_by_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match=key):
        turns_of(tmp_path, ASK, {**SAY, key: "x"})


def test_other_keys_are_named(tmp_path: Path) -> None:
    rows = [{"messages": [{**ASK, "date": "1 May"}, {**SAY, "rating": 5, "id": None}]}]
    assert "keys of messages that are not read: 'date', 'rating'" in load(tmp_path, rows).notes


@pytest.mark.parametrize("role", ["tool", "environment", "ipython", "observation", "tool_result"])
def test_a_tool_may_answer_any_answer(tmp_path: Path, role: str) -> None:
    found = turns_of(
        tmp_path, ASK, {**SAY, "content": "<tool_call>add(3, 3)</tool_call>"}, {"role": role, "content": "6"}, SAY
    )
    assert [turn["role"] for turn in found] == ["user", "assistant", "tool", "assistant"]
    assert [turn["trained"] for turn in found] == [False, True, False, True]


def test_a_greeting_comes_first_and_is_not_learned_from(tmp_path: Path) -> None:
    found = turns_of(tmp_path, {"role": "assistant", "content": "Hello!"}, ASK, SAY)
    assert [turn["trained"] for turn in found] == [False, False, True]
    taught = turns_of(tmp_path, {"role": "assistant", "content": "Hello!", "weight": 1}, ASK, {**SAY, "weight": 1})
    assert [turn["trained"] for turn in taught] == [True, False, True]


def test_turns_as_json_text_are_turns(tmp_path: Path) -> None:
    expected = [dict(e.fields) for e in load(tmp_path, [{"messages": [ASK, SAY]}]).examples]
    assert [dict(e.fields) for e in load(tmp_path, [{"messages": json.dumps([ASK, SAY])}]).examples] == expected
    quoted = json.dumps([ASK, SAY]).replace('"', '""')
    (tmp_path / "rows.csv").write_text(f'messages\n"{quoted}"\n')
    assert [dict(e.fields) for e in load_examples(str(tmp_path / "rows.csv")).examples] == expected


@pytest.mark.parametrize(("asked", "answer"), [("input", "output"), ("prompt", "response"), ("messages", "answer")])
def test_turns_and_the_answer_beside_them(tmp_path: Path, asked: str, answer: str) -> None:
    loaded = load(tmp_path, [{asked: [ASK], answer: "6", "system_prompt": "Think.", "category": "math"}])
    assert loaded.layout is not None and loaded.layout.name == "messages-output"
    (example,) = loaded.examples
    assert [turn["content"] for turn in example.fields["messages"]] == ["Think.", "And 3 + 3?", "6"]
    assert [turn["trained"] for turn in example.fields["messages"]] == [False, False, True]


@pytest.mark.parametrize(
    ("ask", "reply"), [("human", "gpt"), ("question", "answer"), ("prompt", "response"), ("user", "bot")]
)
def test_pairs_of_turns_in_other_words(tmp_path: Path, ask: str, reply: str) -> None:
    loaded = load(tmp_path, [{"conversation": [{ask: "And 3 + 3?", reply: "6"}]}])
    assert loaded.layout is not None and loaded.layout.name == "turn-pairs"
