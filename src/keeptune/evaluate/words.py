"""Words of any script, for metrics that count them: scripts without spaces go character by character."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

# Scripts that put no space between words: Thai to Myanmar, Khmer, kana, Han.
_CONTINUOUS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def one_form(text: str) -> str:
    """Unicode's composed form (NFC): an é is one character whichever way it was typed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_continuous(character: str) -> bool:
    """True for a character of a script that puts no space between words."""
    code = ord(character)
    return code >= 0x0E00 and any(low <= code <= high for low, high in _CONTINUOUS)


def mostly_continuous(texts: Iterable[str]) -> bool:
    """True if most letters of the texts are of scripts without spaces."""
    letters = [c for text in texts for c in text if c.isalpha()]
    return 2 * sum(map(is_continuous, letters)) > len(letters) > 0


def apart(token: str) -> Iterator[str]:
    """A token without spaces as its words: runs of other scripts whole, characters of continuous ones alone."""
    run = ""
    for character in token:
        if is_continuous(character):
            if run:
                yield run
            run = ""
            yield character
        else:
            run += character
    if run:
        yield run


class RougeWords:
    """rouge-score's words where a text is ASCII; elsewhere letters, digits and marks of any script are kept, too.

    rouge-score itself keeps a-z and 0-9 alone: texts in other scripts have no words, and accents cut those that have.
    """

    @cached_property
    def _ascii(self) -> Any:
        from rouge_score.tokenizers import DefaultTokenizer

        return DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        """The words of a text, lower case, English ones stemmed."""
        if text.isascii():
            return list(self._ascii.tokenize(text))
        kept = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in one_form(text).lower())
        words: list[str] = []
        for token in kept.split():
            for word in apart(token):
                words += self._ascii.tokenize(word) if word.isascii() else [word]
        return words
