"""Words of any script, for metrics that compare them: scripts without spaces go character by character."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

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


def squeeze(text: str) -> str:
    """Strip, make every run of white space one space, and write every character in Unicode's composed form."""
    return " ".join(one_form(text).split())


def is_continuous(character: str) -> bool:
    """Whether the character is of a script that puts no space between words."""
    code = ord(character)
    return code >= 0x0E00 and any(low <= code <= high for low, high in _CONTINUOUS)


def mostly_continuous(texts: Iterable[str]) -> bool:
    """Whether most letters of the texts are of scripts without spaces."""
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
