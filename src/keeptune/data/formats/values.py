"""What stands in a cell, as text: completions, references, choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class UnusableValue(Exception):
    """A value that cannot be used; the message is the reason, with the field's name."""


def as_text(value: Any, field: str) -> str:
    """A text as it is; a number or truth value in JSON's spelling; null as ''.

    Raises:
        UnusableValue: lists, objects, bytes.
    """
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _digits(value)
    kinds: dict[type, str] = {list: "a list", dict: "an object", bytes: "bytes"}
    kind = kinds.get(type(value), type(value).__name__)
    raise UnusableValue(f"field '{field}' is {kind}, not a text")


def _digits(value: int | float) -> str:
    try:
        return str(value)
    except ValueError:  # thousands of digits (Parquet decimals): Python refuses to spell them
        return hex(int(value))


def as_references(value: Any, field: str) -> list[str]:
    """The accepted texts of a cell: one text, a list of them, or SQuAD's {"text": [...]}; empty ones are left out.

    Raises:
        UnusableValue: a list of anything else than texts and numbers.
    """
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        value = value["text"]
    values = value if isinstance(value, list | tuple) else [value]
    texts = [as_text(item, field) for item in values]
    return list(dict.fromkeys(text for text in texts if text.strip()))


def as_choices(value: Any, field: str) -> tuple[list[str], list[str]]:
    """The texts of the choices, and their labels ('A', 'B', ... where none are given: ARC gives some).

    Raises:
        UnusableValue: fewer than two choices, repeated or empty ones, or no list.
    """
    labels: Sequence[Any] = ()
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels, value = value.get("label") or (), value["text"]
    if not isinstance(value, list | tuple):
        raise UnusableValue(f"field '{field}' is not a list of choices")
    texts = [as_text(item, field) for item in value]
    if len(texts) < 2 or len(set(texts)) < len(texts) or not all(text.strip() for text in texts):
        raise UnusableValue(f"field '{field}' must list at least two different choices, none empty")
    if not isinstance(labels, list | tuple) or len(labels) != len(texts):
        labels = LETTERS[: len(texts)]
    return texts, [str(label) for label in labels]


def chosen(answer: Any, texts: Sequence[str], labels: Sequence[str], field: str) -> str:
    """The text of the right choice: the answer is that text, its number from 0 (a JSON number), or its label.

    Raises:
        UnusableValue: the answer is none of the choices, or a number that may mean two of them.
    """
    if isinstance(answer, list | tuple) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, int) and not isinstance(answer, bool):
        if 0 <= answer < len(texts):
            if str(answer) in texts and texts[answer] != str(answer):
                raise UnusableValue(f"field '{field}' is {answer}: that choice, or the one with this number from 0?")
            return texts[answer]
        raise UnusableValue(f"field '{field}' is {answer}, but choices count from 0 to {len(texts) - 1}")
    text = as_text(answer, field)
    if text in texts:
        return text
    if text.strip() in labels:
        return texts[labels.index(text.strip())]
    if text.strip().isdecimal() and len(text.strip()) < 10 and int(text) < len(texts):
        return texts[int(text)]
    raise UnusableValue(f"field '{field}' is none of the choices")
