"""A mask that is wrong is an error that shows the row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keeptune.batching.padded import unfold
from keeptune.batching.trie import flat_batch
from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.mask_check import Proof
from keeptune.data.examples import Encoded, Rendered, Segments, Tokens
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import TemplateSet, default_templates


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, context=200)


@pytest.fixture
def proof(encoder: Encoder) -> Proof:
    return encoder.proof


def ids(encoder: Encoder, text: str) -> tuple[int, ...]:
    return tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])


def tokens(encoder: Encoder, row: tuple[int, ...], mask: list[bool]) -> Any:
    whole = Tokens(row, tuple(mask))
    return encoder.encode(Rendered("a", "a", "", "", ("",), whole=whole, path="rows.jsonl", line=7))


def test_a_right_mask_is_proven(encoder: Encoder, proof: Proof) -> None:
    row = Encoded("a", ids(encoder, "Is it? Answer:"), (*ids(encoder, " yes"), encoder.end_id))
    proof.answers(row, [" yes"])
    assert proof.shown(row).startswith("Is it? Answer:⟦ yes")


def test_tokens_that_say_something_else(encoder: Encoder, proof: Proof) -> None:
    row = Encoded("a", ids(encoder, "Is it? Answer:"), (*ids(encoder, " yes"), encoder.end_id))
    with pytest.raises(DataError, match=r"say ' yes', the answer is ' no': Is it\? Answer:⟦ yes"):
        proof.answers(row, [" no"])
    with pytest.raises(DataError, match="1 stretches are supervised, the row has 2 answers"):
        proof.answers(row, [" yes", " no"])


def test_an_end_that_is_not_supervised(encoder: Encoder, proof: Proof) -> None:
    row = Encoded("a", ids(encoder, "Is it?"), ids(encoder, " yes"))
    with pytest.raises(DataError, match="never learn to stop") as error:
        proof.answers(row, [" yes"])
    assert "⟦ yes⟧" in error.value.message
    two = Encoded("a", (5,), (6, 7, 8, encoder.end_id), ((1, 2),))
    with pytest.raises(DataError, match="an answer ends in"):
        proof.answers(two, ["x", "y"])


def test_a_row_without_supervised_tokens(proof: Proof) -> None:
    with pytest.raises(DataError, match="no token of the row is supervised"):
        proof.row(Encoded("a", (5, 6), ()))


def test_a_mask_that_hides_the_end_because_it_is_the_padding(encoder: Encoder) -> None:
    row = (*ids(encoder, "Is it? yes"), encoder.end_id)
    good = tokens(encoder, row, [False] * (len(row) - 2) + [True, True])
    assert good.trained == 2
    with pytest.raises(DataError, match=r"end token behind the last answer is not supervised") as error:
        tokens(encoder, row, [False] * (len(row) - 2) + [True, False])
    assert (error.value.path, error.value.line) == ("rows.jsonl", 7)
    equal = encoder.tokenizer.pad_token_id == encoder.end_id
    assert ("because it equals the padding token" in error.value.message) is equal


def test_ids_of_another_tokenizer(encoder: Encoder) -> None:
    with pytest.raises(DataError, match="the row was made with another"):
        tokens(encoder, (5, 10**6, encoder.end_id), [False, True, True])


def test_two_bos_tokens(encoder: Encoder, tokenizer: Any) -> None:
    bos = tokenizer.bos_token_id
    if bos is None or bos == tokenizer.eos_token_id:
        pytest.skip("the tokenizer has no BOS of its own")
    with pytest.raises(DataError, match="two BOS tokens"):
        tokens(encoder, (bos, bos, 9, encoder.end_id), [False, False, True, True])


def test_padding_that_equals_the_end_token_hides_no_target(encoder: Encoder) -> None:
    rows = [Encoded("a", (5, 6), (7, encoder.end_id)), Encoded("b", (5,), (6, 7, 8, 9, encoder.end_id))]
    flat = flat_batch(rows)
    padded = unfold(flat, pad_id=encoder.end_id)
    assert flat.labels.tolist().count(encoder.end_id) == 2
    assert len(padded.kept) == sum(row.trained for row in rows)


def test_segments_say_what_they_are(encoder: Encoder) -> None:
    whole = Segments((("Is it?", False), (" yes", True), (" no", True), (" Is it?", False), (" no", True)))
    result = encoder.encode(Rendered("a", "a", "", "", ("",), whole=whole))
    assert isinstance(result, Encoded)
    assert [encoder.texts.said(result.completion_ids[a:b]) for a, b in result.spans] == [
        " yes no",
        " no" + encoder.tokenizer.eos_token,
    ]


def test_every_row_of_a_set_is_proven(tmp_path: Path, encoder: Encoder) -> None:
    rows = [
        {"conversations": [{"from": "human", "value": f"{n}?"}, {"from": "gpt", "value": f"it is {n}"}] * (1 + n % 3)}
        for n in range(30)
    ]
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(rows))
    loaded = load_examples(str(path))
    assert loaded.layout is not None
    wordings = TemplateSet(default_templates(loaded.layout))
    done = encoder.encode_all(wordings.fixed(example) for example in loaded.examples)
    assert len(done.rows) == 30
    for n, row in enumerate(done.rows):
        said = [encoder.texts.said(row.completion_ids[a : b - 1]) for a, b in row.spans]
        assert said == [f" it is {n}"] * (1 + n % 3)
