"""What bleu and chrf share: sacrebleu's corpus figures as shares of the items."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keeptune.evaluate.metrics.base import Scores
from keeptune.evaluate.metrics.corpus import Floats, linearise
from keeptune.evaluate.words import one_form

_LINE_BREAK = re.compile(r"\r\n?|\n")


def sacrebleu_scores(
    metric: Any, statistic: Callable[[Floats], float], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> Scores:
    """Linearised scores in [0, 1] of one of sacrebleu's metrics, and its signature.

    The sums per item are not part of sacrebleu's public interface.
    """
    streams = reference_streams(references)
    lines = [one_line(text) for text in predictions]
    parts = np.asarray(metric._extract_corpus_statistics(lines, streams), dtype=np.float64)
    value = float(metric.corpus_score(lines, streams).score) / 100
    return Scores(linearise(parts, statistic, value), str(metric.get_signature()))


def reference_streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References per item -> sacrebleu's streams: k lists over all items, None where an item has fewer than k."""
    most = max(len(one) for one in references)
    return [[one_line(one[k]) if k < len(one) else None for one in references] for k in range(most)]


def one_line(text: str) -> str:
    """A text as sacrebleu's command line would read it from a file: one line, no white space at its end."""
    return _LINE_BREAK.sub(" ", one_form(text)).rstrip()
