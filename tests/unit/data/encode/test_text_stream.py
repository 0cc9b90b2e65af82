from __future__ import annotations

import random
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from keeptune.data.encode.text_stream import TextStream
from keeptune.data.encode.texts import Texts

SAID = (
    " red",
    "\n\nThe house is red.\n  Twice. ",
    " Grüße aus Köln, 日本語のテキスト, Привет",
    " 👩\u200d👩\u200d👧 🏳️\u200d🌈 e\u0301 नमस्ते ﷽",
    "",
    "\ufffd is a character, too \ufffd",
)


@pytest.fixture(scope="module")
def sentencepiece() -> Any:
    """A tokenizer that writes spaces as ▁ and unknown characters byte by byte, and drops a text's first space."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁red", "a", "e", "▁a"]
    raw = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], 0, byte_fallback=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(params=["tokenizer", "sentencepiece"])
def texts(request: pytest.FixtureRequest) -> Texts:
    return Texts(request.getfixturevalue(request.param))


def told(stream: TextStream, ids: tuple[int, ...]) -> list[str]:
    return [*map(stream.add, ids), stream.end()]


@pytest.mark.parametrize("text", SAID)
def test_the_pieces_are_the_text_and_no_piece_has_half_a_character(texts: Texts, text: str) -> None:
    ids = texts.following(text)
    pieces = told(TextStream(texts), ids)
    assert "".join(pieces) == texts.said(ids) == text
    assert sum(map(bool, pieces)) >= len(text.split())  # told as it comes, not at the end
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_bytes_that_are_no_text_hold_nothing_back_for_long(texts: Texts) -> None:
    draw = random.Random(0)
    broken = [id for id in texts.ids("日本語") if texts.said([id]) == "\ufffd"]
    ids = tuple(draw.choice(broken) for _ in range(40))
    assert len("".join(map(TextStream(texts).add, ids))) >= 20


def test_a_stop_string_and_what_may_become_one_are_not_told(texts: Texts) -> None:
    ids = texts.following(" red\n house\n\n the next question\n\n")
    stream = TextStream(texts, ["\n\n", "Question:"])
    shown = ""
    for id in ids:
        shown += stream.add(id)
        assert " red\n house".startswith(shown)
    assert shown + stream.end() == " red\n house"
    assert "".join(told(TextStream(texts, ["\n\n"]), texts.following(" red\n"))) == " red\n"
