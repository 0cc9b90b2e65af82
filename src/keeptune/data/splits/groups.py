"""What examples share: a source (their cluster) and a small set of answers (their choices)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from keeptune.core.units import content_hash
from keeptune.data.examples import Example
from keeptune.data.formats.recognise import LABELS, ColumnSchema, canonical
from keeptune.data.storage.lazy import NumberedMap, materialize

SOURCES = {"question": "context", "inference": "premise"}  # the role that several rows may share
MOST_CHOICES = 200
MOST_NUMBERS = 10  # more different numbers than this are results, not classes
LONGEST_CHOICE = 10  # words


def share_clusters(examples: Sequence[Example], layout: ColumnSchema | None) -> Sequence[Example]:
    """Examples with the same source share a cluster; the others keep their own."""
    if layout is None:
        return examples
    prompt = partial(_prompt_key, columns=layout.prompt_columns)
    source = layout.roles.get(SOURCES.get(layout.name, ""), "")
    key, hashes = prompt, hashes_of(text if text.strip("\0") else "" for text in map(prompt, examples))
    if source:
        context = partial(_text_of, column=source)
        of_sources = hashes_of(map(context, examples))
        if of_sources.all() and np.unique_counts(of_sources).counts.max() <= max(10, 0.05 * len(examples)):
            key, hashes = context, of_sources
    found = np.unique_inverse(hashes)
    shared = (np.bincount(found.inverse_indices) > 1)[found.inverse_indices] & (hashes != 0)
    return materialize(NumberedMap(examples, partial(_sharing, shared=shared, key=key))) if shared.any() else examples


def _sharing(number: int, example: Example, shared: NDArray[np.bool_], key: Callable[[Example], str]) -> Example:
    return replace(example, cluster=content_hash(key(example))) if shared[number] else example


def hashes_of(texts: Iterable[str]) -> NDArray[np.int64]:
    """`hash_of` every text [N]."""
    return np.fromiter(map(hash_of, texts), dtype=np.int64)


def hash_of(text: str) -> int:
    """A number by which equal texts are known in this process; 0 of an empty one alone."""
    return (hash(text) or 1) if text else 0


def _prompt_key(example: Example, columns: Sequence[str]) -> str:
    return "\0".join(str(example.fields.get(column, "")).strip() for column in columns)


def _text_of(example: Example, column: str) -> str:
    return str(example.fields[column])


def few_answers(examples: Sequence[Example], layout: ColumnSchema) -> tuple[str, ...] | None:
    """The answers of the whole set where they are few, short and repeated; None where they are free text."""
    if "choices" in layout.roles:
        return None
    answers: Counter[str] = Counter()
    for example in examples:
        answer = example.fields[layout.completion]
        if not isinstance(answer, str):
            return None
        answers[answer] += 1
        if len(answers) > MOST_CHOICES:
            return None
    share = 0.5 if canonical(layout.completion) in LABELS else 0.1
    if not 2 <= len(answers) <= min(MOST_CHOICES, share * len(examples)):
        return None
    if any(len(answer.split()) > LONGEST_CHOICE for answer in answers):
        return None
    if len(answers) > MOST_NUMBERS and all(_is_number(answer) for answer in answers):
        return None
    return tuple(sorted(answers))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*[-+]?[\d.,]+\s*%?", text) is not None
