"""Texts compared with references: one item, one number in [0, 1].

All of these take ``(prediction, references)``, and with several references the best one counts.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.words import RougeWords, apart, one_form

ItemScore = Callable[[str, Sequence[str]], float]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squeeze(text: str) -> str:
    """Strip, make every run of whitespace one space, and write every character in Unicode's composed form."""
    return " ".join(one_form(text).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 where the prediction equals a reference, case included, up to whitespace (`squeeze`)."""
    return float(squeeze(prediction) in {squeeze(reference) for reference in references})


def squad_tokens(text: str) -> list[str]:
    """Words as SQuAD's evaluation script v1.1 sees them: lower case, no punctuation, no English articles.

    Scripts without spaces, of which that script makes one word, go character by character.
    """
    words = _ARTICLES.sub(" ", one_form(text).lower().translate(_PUNCTUATION)).split()
    return words if text.isascii() else [part for word in words for part in apart(word)]


def token_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 over the bag of `squad_tokens`; the best reference counts.

    Where one side has no tokens left, 1 if both are empty and 0 otherwise (SQuAD v2).
    """
    return max(_bag_f1(Counter(squad_tokens(prediction)), Counter(squad_tokens(one))) for one in references)


def _bag_f1(found: Counter[Any], wanted: Counter[Any]) -> float:
    """2 |found ∩ wanted| / (|found| + |wanted|) over multisets; 1 where both are empty."""
    total = found.total() + wanted.total()
    return 2 * (found & wanted).total() / total if total else 1.0


@lru_cache
def _rouge_scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # pulls in nltk: a second that only ROUGE users pay

    return RougeScorer([kind], tokenizer=RougeWords())


def rouge(kind: str) -> ItemScore:
    """F-measure of rouge-score with the Porter stemmer: 'rouge1', 'rouge2', 'rougeL' or 'rougeLsum'.

    The words are rouge-score's own where a text is ASCII, and those of its script elsewhere (`words.RougeWords`).

    'rougeLsum' takes every line of a text as one sentence and splits nothing else, as rouge-score does by
    default: put one sentence on a line in predictions and references for the summary-level figure.
    """

    def score(prediction: str, references: Sequence[str]) -> float:
        return float(_rouge_scorer(kind).score_multi(list(references), prediction)[kind].fmeasure)

    return score


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def parse_json(text: str) -> Any:
    """The JSON value of a whole text (whitespace around it allowed); NaN and Infinity are not JSON.

    Raises:
        ValueError: the text is not one JSON value.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def json_valid(prediction: str, references: Sequence[str]) -> float:
    """1 where the prediction is one JSON value; what it says is not looked at."""
    try:
        parse_json(prediction)
    except ValueError:
        return 0.0
    return 1.0


def json_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 over the bag of (field path, value) pairs; 0 where the prediction is not JSON.

    The items of a list share one path, so their order does not matter; 1 and 1.0 are equal, 1 and true are not.

    Raises:
        DataError: a reference is not JSON.
    """
    try:
        found = Counter(_leaves(parse_json(prediction)))
    except ValueError:
        found = None
    best = 0.0
    for reference in references:
        try:
            wanted = Counter(_leaves(parse_json(reference)))
        except ValueError as error:
            raise DataError(
                f"the reference {reference[:60]!r} is not JSON ({error})",
                remedy="json_f1 needs JSON references; choose another metric or mend the row",
            ) from error
        best = max(best, _bag_f1(found, wanted) if found is not None else 0.0)
    return best


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, canonical value) of every scalar and every empty container."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _leaves(inner, f"{path}[]")
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield path, repr(float(value))
    else:
        yield path, json.dumps(value, ensure_ascii=False)


class Extractor:
    """Cuts the answer out of a text by a regular expression.

    The last match counts (models often reason first and answer last), or the first one where ``first`` is
    set; of a match, group 1 where the pattern has a group. A prediction without a match becomes the empty
    text. References go through the same pattern but stay whole where it does not match.
    """

    def __init__(self, pattern: str, first: bool = False) -> None:
        """Raises:
        ConfigError: the pattern does not compile.
        """
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"extract: {pattern!r} is not a regular expression: {error}",
                remedy="mend the pattern; in YAML, single quotes keep backslashes as they are",
            ) from error
        self._first = first
        self.key = f"{'first' if first else 'last'} {pattern}"  # for content hashes

    def __call__(self, text: str) -> str | None:
        """The answer, or None where nothing matches."""
        matches = list(self._pattern.finditer(text))
        if not matches:
            return None
        match = matches[0 if self._first else -1]
        return (match.group(1) or "") if self._pattern.groups else match.group(0)
