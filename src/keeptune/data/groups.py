"""What examples share: a source (their cluster) and a small set of answers (their choices)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from keeptune.core.units import content_hash
from keeptune.data.examples import Example
from keeptune.data.recognise import LABELS, Layout, canonical

SOURCES = {"question": "context", "inference": "premise"}  # the role that several rows may share
MOST_CHOICES = 200
MOST_NUMBERS = 10  # more different numbers than this are results, not classes
LONGEST_CHOICE = 10  # words


def share_clusters(examples: Sequence[Example], layout: Layout | None) -> list[Example]:
    """Examples with the same source share a cluster; the others keep their own."""
    if layout is None:
        return list(examples)
    keys = [_prompt_key(example, layout.prompt_columns) for example in examples]
    shared = layout.roles.get(SOURCES.get(layout.name, ""))
    if shared is not None:
        sources = [example.fields[shared] for example in examples]
        if all(sources) and max(Counter(sources).values()) <= max(10, 0.05 * len(examples)):
            keys = sources
    counts = Counter(keys)
    return [
        replace(example, cluster=content_hash(key)) if counts[key] > 1 and key.strip("\0") else example
        for example, key in zip(examples, keys, strict=True)
    ]


def _prompt_key(example: Example, columns: Sequence[str]) -> str:
    return "\0".join(str(example.fields.get(column, "")).strip() for column in columns)


def few_answers(examples: Sequence[Example], layout: Layout) -> tuple[str, ...] | None:
    """The answers of the whole set where they are few, short and repeated; None where they are free text."""
    if "choices" in layout.roles:
        return None
    answers: Counter[str] = Counter()
    for example in examples:
        answer = example.fields[layout.completion]
        if not isinstance(answer, str):
            return None
        answers[answer] += 1
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
