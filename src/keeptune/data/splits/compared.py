"""What rows are compared by: each example's own words, without what most rows share and without its label."""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np

from keeptune.data.examples import Example
from keeptune.data.splits.groups import hash_of

SHARED = 0.5  # a field whose commonest value stands in more than this share of the rows is left out
TELLING = 8  # words of a text that two rows do not have in common by chance
SYMBOLS = "$+<=>|~"  # of ASCII
OPERATORS = "*-/%^"


def own_fields(examples: Sequence[Example], among: Sequence[str] | None = None) -> tuple[str, ...]:
    """Fields that tell rows apart: not what most rows share, not the label, not a handful of values.

    A field that is empty in most rows (the input of open instructions) tells the others apart, and stays.
    ``among`` limits the choice. Where no field is left, those that are not the label are taken, then all.
    """
    values: dict[str, array[int]] = {}  # field -> hash of the text in every row that has it, 0 where it is blank
    labels: Counter[str] = Counter()
    for example in examples:
        for name, value in example.fields.items():
            if among is not None and name not in among:
                continue
            text = flat(value)
            values.setdefault(name, array("q")).append(hash_of(text) if text.strip() else 0)
            labels[name] += example.label is not None and text.strip() == example.label.strip()
    n = len(examples)
    kept = []
    for name, hashes in values.items():
        distinct, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
        shared = counts[distinct != 0].max(initial=0) > SHARED * n
        few = n >= 50 and len(distinct) <= max(2, n // 20)
        if not (shared or few or labels[name] > SHARED * n):
            kept.append(name)
    return tuple(kept or [name for name in values if labels[name] <= SHARED * n] or values)


def own_text_of(example: Example, names: Sequence[str]) -> str:
    """The text of some fields, a line for each."""
    fields = dict(example.fields)  # read once
    return "\n".join(flat(fields.get(name)) for name in names)


def flat(value: Any) -> str:
    """A field's value as text; of what is no text, its JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return "" if value is None else str(value)


def normalise(text: str) -> str:
    """Lower case, words and symbols with single blanks between; the text itself where nothing would be left.

    Punctuation goes, but not what changes the meaning: C is not C++, 12 + 7 is not 12 - 7. A letter and its mark are
    the same however Unicode spells them.
    """
    lower = unicodedata.normalize("NFC", text).lower()
    letters = set(lower)
    rare = any(_is_symbol(letter) for letter in letters if letter > "\x7f")
    calculates = not letters.isdisjoint("0123456789") and not letters.isdisjoint(OPERATORS)
    words = _words(rare or not letters.isdisjoint(SYMBOLS), rare, calculates)
    return " ".join(words.findall(lower)) or " ".join(text.split())


@lru_cache(maxsize=1 << 12)
def _is_symbol(letter: str) -> bool:
    return unicodedata.category(letter) in ("Sm", "Sc", "So")  # not Sk: a backtick quotes


@cache
def _words(symbols: bool, rare: bool, calculates: bool) -> re.Pattern[str]:
    """Letters and digits with the marks behind them (vowels of Indic scripts, accents that do not compose); symbols.

    What a text does not have is not looked for: the class of all symbols is thirty times as slow.

    Args:
        symbols: of which a text may have any.
        rare: all of them, not only those of ASCII.
        calculates: signs between two numbers count, too.
    """
    high = [*map(chr, (*range(0x80, 0x10000), *range(0x1F000, 0x1FB00)))]
    marks = "".join(letter for letter in high if unicodedata.category(letter)[0] == "M")
    pattern = rf"\w[\w{marks}]*"
    if symbols:
        pattern += f"|[{re.escape(SYMBOLS)}{''.join(filter(_is_symbol, high)) if rare else ''}]"
    if calculates:
        pattern += rf"|(?:(?<=\d)|(?<=\d\s))[{re.escape(OPERATORS)}](?=\s?\d)"
    return re.compile(pattern)


def location(example: Example) -> str:
    """'path:line' as pairs name it; the id of a row that no file has."""
    return f"{example.path}:{example.line}" if example.path else example.id
