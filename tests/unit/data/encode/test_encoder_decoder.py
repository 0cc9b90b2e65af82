"""Prompt and answer as two texts: T5's way and BART's."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.window import Overlong
from keeptune.data.examples import Encoded, Rendered, Segments

TEXTS = ["Once upon a time a small model learned to add numbers.", "Which does not belong? apple, hammer. hammer"]


@cache
def t5() -> Any:
    """transformers' own T5 tokenizer on a small vocabulary: a blank before every text, none kept, </s> behind."""
    from transformers import T5Tokenizer

    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    raw.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    pieces = [tuple(piece) for piece in json.loads(raw.to_str())["model"]["vocab"]]
    return T5Tokenizer(vocab=pieces, extra_ids=4, model_max_length=64)


@pytest.fixture
def bart(tokenizer: Any) -> Any:
    """Byte-level pieces between <s> and </s>."""
    from copy import deepcopy

    framed = deepcopy(tokenizer)
    framed.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return framed


def rendered(prompt: str, completion: str, **more: Any) -> Rendered:
    return Rendered("1", "1", prompt, completion, (completion,), path="rows.jsonl", line=3, **more)


@pytest.mark.parametrize("space", ["", " ", "\n"])
def test_both_are_read_as_the_tokenizer_reads_texts(bart: Any, space: str) -> None:
    for tokenizer, begins in ((t5(), ()), (bart, (1,))):
        encoder = Encoder(tokenizer, context=64, encoder_decoder=True)
        row = encoder.row(rendered("Which does not belong?", space + "hammer"))
        assert list(row.prompt_ids) == tokenizer("Which does not belong?").input_ids
        assert [*begins, *row.completion_ids] == tokenizer("hammer").input_ids
        assert encoder.text(row.completion_ids).strip() == "hammer"
        assert encoder.choice(space + "hammer") == row.completion_ids[:-1]


def test_demonstrations_stand_in_the_prompt() -> None:
    encoder = Encoder(t5(), context=64, encoder_decoder=True)
    shot = rendered("apple, ", "hammer")
    found = encoder.prompt(rendered("a small ", "model"), [shot])
    assert list(found) == t5()("apple, hammer\n\na small ").input_ids


def test_each_has_a_window_of_its_own() -> None:
    whole = Encoder(t5(), context=1000, encoder_decoder=True).row(rendered("a small model " * 4, "hammer " * 3))
    prompt, answer = len(whole.prompt_ids), len(whole.completion_ids)
    roomy = Encoder(t5(), context=max(prompt, answer + 1), encoder_decoder=True)
    assert roomy.encode(rendered("a small model " * 4, "hammer " * 3)) == whole
    cut = Encoder(t5(), context=prompt - 3, encoder_decoder=True, overlong="truncate_prompt")
    kept = cut.encode(rendered("a small model " * 4, "hammer"))
    assert isinstance(kept, Encoded)
    assert kept.prompt_ids == whole.prompt_ids[3:] and kept.prompt_ids[-1] == t5().eos_token_id
    short = Encoder(t5(), context=answer, encoder_decoder=True, overlong="truncate_prompt")
    left_out = short.encode(rendered("a", "hammer " * 3))
    assert isinstance(left_out, Overlong) and left_out.reason == "the completion alone exceeds the window"


def test_one_call_for_many_rows_makes_the_same(bart: Any) -> None:
    rows = [rendered(f"add {number} to {number}", (" hammer", "model")[number % 2]) for number in range(9)]
    for tokenizer in (t5(), bart):
        encoder = Encoder(tokenizer, context=64, encoder_decoder=True)
        assert list(encoder.encode_batch(rows).rows) == [encoder.row(row) for row in rows]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (rendered(" ", "hammer"), "a row without a prompt"),
        (rendered("a", "b", whole=Segments((("a", False), ("b", True)))), "a row of several turns, segments"),
    ],
)
def test_rows_that_are_no_pair_are_refused(row: Rendered, why: str) -> None:
    encoder = Encoder(t5(), context=64, encoder_decoder=True)
    with pytest.raises(DataError, match=rf"rows.jsonl:3.*{why}.*what the encoder reads"):
        encoder.row(row)
