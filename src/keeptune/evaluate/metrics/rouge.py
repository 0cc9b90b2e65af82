"""rouge1, rouge2, rougeL and rougeLsum: rouge-score's F-measures with the Porter stemmer.

The words are rouge-score's own where a text is ASCII, and those of its script elsewhere (`RougeWords`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from keeptune.evaluate.metrics.base import METRICS, ItemMetric
from keeptune.evaluate.words import apart, one_form


class Rouge(ItemMetric):
    """F-measure against the best reference, of the kind that the class is registered as."""

    def score_item(self, prediction: str, references: Sequence[str]) -> float:
        """rouge-score's figure."""
        return float(_scorer(self.name).score_multi(list(references), prediction)[self.name].fmeasure)


@METRICS.register("rouge1")
class Rouge1(Rouge):
    """Words in common."""


@METRICS.register("rouge2")
class Rouge2(Rouge):
    """Pairs of words in common."""


@METRICS.register("rougeL")
class RougeL(Rouge):
    """The longest common subsequence of words."""


@METRICS.register("rougeLsum")
class RougeLsum(Rouge):
    """The same by sentences, each line of a text being one.

    Nothing else is split, as rouge-score does by default: put one sentence on a line in predictions and references
    for the summary-level figure.
    """


@lru_cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # pulls in nltk: a second that only ROUGE users pay

    return RougeScorer([kind], tokenizer=RougeWords())


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
