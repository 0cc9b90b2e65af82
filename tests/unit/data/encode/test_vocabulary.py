"""Texts that tokenizers lose, and special tokens that texts spell."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from keeptune.data.encode.vocabulary import KNOWN_ENDS, Vocabulary, pattern_of, spelled

KNOWN = ["Where is the house? It is in the park, number 0123456789.", "Où est le café? Là!", "今天天气很好"] * 3


def trained(model: Any, trainer: Any, **parts: Any) -> PreTrainedTokenizerFast:
    raw = Tokenizer(model)
    for name, part in parts.items():
        setattr(raw, name, part)
    raw.train_from_iterator(KNOWN, trainer)
    unknown = "[UNK]" if raw.token_to_id("[UNK]") is not None else None
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", unk_token=unknown)


def pieces(unknown: str | None = "[UNK]") -> PreTrainedTokenizerFast:
    """BPE on characters; without an unknown token it drops what it does not know."""
    special = ["</s>", *([unknown] if unknown else [])]
    return trained(
        models.BPE(unk_token=unknown),
        trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        decoder=decoders.Metaspace(),
    )


def words() -> PreTrainedTokenizerFast:
    """WordPiece that lowers letters and strips accents."""
    return trained(
        models.WordPiece(unk_token="[UNK]"),
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "</s>"], show_progress=False),
        normalizer=normalizers.BertNormalizer(),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        decoder=decoders.WordPiece(),
    )


@pytest.mark.parametrize("make", [pieces, lambda: pieces(None), words], ids=["unknown token", "dropped", "word pieces"])
def test_characters_that_a_tokenizer_does_not_know(make: Any) -> None:
    vocabulary = Vocabulary(make())
    assert not vocabulary.loses("Where is the café? It is in the park.")
    assert not vocabulary.loses("今天很好")
    for text in ("мост", "Where is the мост?", "שלום", "天地"):
        assert vocabulary.loses(text), text
    assert Vocabulary(words()).loses("the 😀") and not Vocabulary(words()).loses("OÙ EST LE CAFE\u0301")


def test_bytes_keep_every_text(tokenizer: Any) -> None:
    assert not any(map(Vocabulary(tokenizer).loses, ("今天天气很好", "😀👩‍👩‍👧", "\u0301", "\x00", "ﬁ ①")))


def test_special_tokens_that_a_text_spells(tokenizer: Any) -> None:
    vocabulary = Vocabulary(tokenizer)
    assert vocabulary.spelled("<s>old</s> and </s>, <|im_end|>") == ["<s>", "</s>"]
    assert vocabulary.spelled("a < b") == []
    more = pieces()
    more.add_tokens([AddedToken("<|turn_end|>", special=True), AddedToken("<tool>", special=False)])
    assert Vocabulary(more).spelled("a<|turn_end|><tool>") == ["<|turn_end|>"]


def test_known_end_tokens() -> None:
    found = pattern_of(KNOWN_ENDS)
    assert spelled(found, "x<|im_end|>y</s>z<|im_end|>") == ["<|im_end|>", "</s>"]
    assert spelled(found, "<|im_start|> </strong>") == []
    assert pattern_of([" ", "|"]) is None
