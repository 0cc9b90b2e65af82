"""Every format supervises exactly the answers and their ends; a mask that is wrong is an error that shows the row."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Conversation, Encoded, Rendered, Segments, Tokens
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import TemplateSet, default_templates

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = [("user", "Where is it?"), ("assistant", "in the room"), ("user", "Is it red?"), ("assistant", "It is green.")]
MESSAGES = [{"role": role, "content": said} for role, said in TURNS]
SHAREGPT = [{"from": {"user": "human"}.get(role, "gpt"), "value": said} for role, said in TURNS]
BOTH, LAST = ["in the room", "It is green."], ["It is green."]
# a row, and its answers; in the plain layout of conversations a space stands before each
FORMATS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "prompt-completion": ({"prompt": "Is it red?\n", "completion": "It is green."}, LAST),
    "instruction": ({"instruction": "Say it.", "input": "Is it red?", "output": "It is green."}, LAST),
    "messages": ({"messages": MESSAGES}, BOTH),
    "weighted messages": ({"messages": [{**m, "weight": int(n == 3)} for n, m in enumerate(MESSAGES)]}, LAST),
    "sharegpt": ({"conversations": SHAREGPT}, BOTH),
    "turn-pairs": ({"conversation": [{"human": TURNS[n][1], "assistant": TURNS[n + 1][1]} for n in (0, 2)]}, BOTH),
    "prompt-completion-messages": ({"prompt": MESSAGES[:3], "completion": MESSAGES[3:]}, LAST),
    "instruction-history": (
        {"instruction": TURNS[2][1], "input": "", "output": TURNS[3][1], "history": [[TURNS[0][1], TURNS[1][1]]]},
        BOTH,
    ),
    "segments": (
        {"segments": [{"label": n % 2 == 1, "text": said} for n, (_, said) in enumerate(TURNS[2:])]},
        LAST,
    ),
    "natural-instructions": (
        {"Definition": ["Say it."], "Instances": [{"input": "Is it red?", "output": ["It is green."]}]},
        LAST,
    ),
    "text": ({"text": "It is green."}, LAST),
}


@pytest.fixture(scope="module")
def chat(tokenizer: Any) -> Any:
    """With a chat template; padding is the end of a turn."""
    made = deepcopy(tokenizer)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = CHATML
    made.eos_token = made.pad_token = "<|im_end|>"
    return made


@pytest.fixture(scope="module")
def padding_is_eos(tokenizer: Any) -> Any:
    made = deepcopy(tokenizer)
    made.pad_token = made.eos_token
    return made


def encoded(path: Path, encoder: Encoder, rows: list[dict[str, Any]]) -> list[Encoded]:
    path.write_text(json.dumps(rows))
    loaded = load_examples(str(path))
    assert loaded.layout is not None
    assert len(loaded.examples) == len(rows)
    wording = TemplateSet(default_templates(loaded.layout), chat=encoder.chat)
    return list(encoder.encode_all(wording.fixed(example) for example in loaded.examples).rows)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("layout", ["plain", "chat"])
def test_the_supervised_tokens_are_the_answers_and_their_ends(
    tmp_path: Path, padding_is_eos: Any, chat: Any, name: str, layout: str
) -> None:
    encoder = Encoder(chat if layout == "chat" else padding_is_eos, context=300, chat=layout == "chat")
    fields, answers = FORMATS[name]
    end = encoder.tokenizer.convert_ids_to_tokens(encoder.end_id)
    (row,) = encoded(tmp_path / "rows.json", encoder, [fields])
    said = [encoder.texts.decode(row.completion_ids[start:stop]) for start, stop in row.spans]
    talks = layout == "plain" and any(key in fields for key in ("messages", "conversations", "conversation", "history"))
    space = " " if talks or (layout == "plain" and name == "prompt-completion-messages") else ""
    assert said == [f"{space}{answer}{end}" for answer in answers]
    assert row.trained == sum(len(encoder.texts.ids(text)) for text in said)


def rendered(whole: Conversation | Segments | Tokens) -> Rendered:
    return Rendered("a", "a", "", "", ("",), whole=whole, path="rows.jsonl", line=7)


@pytest.mark.parametrize("whole", ["tokens", "segments"])
def test_a_row_without_supervised_tokens(tokenizer: Any, whole: str) -> None:
    encoder = Encoder(tokenizer, context=100)
    ids = encoder.texts.ids("the house is red")
    row = Tokens(ids, (False,) * len(ids)) if whole == "tokens" else Segments((("the house is red", False),))
    with pytest.raises(DataError, match=r"rows\.jsonl:7: no token of the row is supervised: the house is red"):
        encoder.encode(rendered(row))


def test_an_empty_answer_is_shown_with_its_prompt(tokenizer: Any) -> None:
    row = Rendered("a", "a", "Where is the dog?", " \n", (" \n",), path="rows.jsonl", line=7)
    with pytest.raises(DataError, match=r"rows\.jsonl:7: an empty completion .*: Where is the dog\?.*remove the row"):
        Encoder(tokenizer, context=100).encode(row)


def test_an_end_that_is_not_supervised(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=100)
    ids = encoder.texts.ids("Is it? yes")
    with pytest.raises(DataError, match=r"rows\.jsonl:7: an answer ends in .*never learn to stop: Is it\? ⟦yes⟧"):
        encoder.encode(rendered(Tokens(ids, tuple(n >= len(encoder.texts.ids("Is it? ")) for n in range(len(ids))))))


def test_an_end_that_was_masked_because_it_is_the_padding(tmp_path: Path, padding_is_eos: Any) -> None:
    encoder = Encoder(padding_is_eos, context=100)
    ids = [*encoder.texts.ids("Is it? yes"), encoder.end_id]
    fields = {"input_ids": [*ids, encoder.end_id], "attention_mask": [1] * len(ids) + [0]}
    labels = [-100] * (len(ids) - 2) + ids[-2:]
    (row,) = encoded(tmp_path / "right.json", encoder, [{**fields, "labels": [*labels, -100]}])
    assert row.completion_ids == tuple(ids[-2:])
    masked = [-100 if i == padding_is_eos.pad_token_id else i for i in [*labels, encoder.end_id]]
    with pytest.raises(DataError, match="not supervised .*because it equals the padding token.*⟦") as error:
        encoded(tmp_path / "wrong.json", encoder, [{**fields, "labels": masked}])
    assert error.value.line == 1


@pytest.mark.parametrize("kind", ["prompt", "tokens", "text", "conversation"])
def test_a_doubled_bos(tokenizer: Any, chat: Any, kind: str) -> None:
    encoder = Encoder(tokenizer, context=100)
    bos = tokenizer.bos_token_id
    row = rendered(Tokens((bos, bos, 9, encoder.end_id), (False, False, True, True)))
    if kind == "prompt":
        row = Rendered("a", "a", "<s><s>Where?", " there", (" there",), path="rows.jsonl", line=7)
    elif kind == "text":
        row = rendered(Segments((("<s><s>Where?", True),)))
    elif kind == "conversation":
        doubled = deepcopy(chat)
        doubled.chat_template = "{{ bos_token }}{{ bos_token }}" + CHATML
        encoder = Encoder(doubled, context=100, chat=True)
        turns = tuple({**turn, "trained": turn["role"] == "assistant"} for turn in MESSAGES)
        row = Rendered("a", "a", "", "", ("",), chat=True, whole=Conversation(turns, 3), path="rows.jsonl", line=7)
    with pytest.raises(DataError, match=r"rows\.jsonl:7: the (row|prompt) begins with two BOS tokens: ⟦?<s>"):
        encoder.encode(row)
