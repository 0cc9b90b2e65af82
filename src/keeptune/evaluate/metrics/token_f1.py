"""token_f1: SQuAD's F1 over the words of answer and reference."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

from keeptune.evaluate.metrics.base import METRICS, ItemMetric
from keeptune.evaluate.words import apart, one_form

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@METRICS.register("token_f1")
class TokenF1(ItemMetric):
    """F1 over the bag of `squad_tokens`; the best reference counts."""

    def score_item(self, prediction: str, references: Sequence[str]) -> float:
        """Where one side has no tokens left, 1 if both are empty and 0 otherwise (SQuAD v2)."""
        return max(bag_f1(Counter(squad_tokens(prediction)), Counter(squad_tokens(one))) for one in references)


def squad_tokens(text: str) -> list[str]:
    """Words as SQuAD's evaluation script v1.1 sees them: lower case, no punctuation, no English articles.

    Scripts without spaces, of which that script makes one word, go character by character.
    """
    words = _ARTICLES.sub(" ", one_form(text).lower().translate(_PUNCTUATION)).split()
    return words if text.isascii() else [part for word in words for part in apart(word)]


def bag_f1(found: Counter[Any], wanted: Counter[Any]) -> float:
    """2 |found ∩ wanted| / (|found| + |wanted|) over multisets; 1 where both are empty."""
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0
