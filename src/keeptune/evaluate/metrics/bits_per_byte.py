"""Bits per byte, the metric of free text. Tasks choose it themselves, so it has no name in recipes."""

from __future__ import annotations

import math

from keeptune.evaluate.metrics.base import Metric


class BitsPerByte(Metric):
    """Negative log-likelihood per UTF-8 byte. It comes from log-probabilities, so it scores no answers."""

    name = "bits_per_byte"
    kind = "bits_per_byte"
    requests = frozenset({"text"})
    higher_is_better = False


def bits_per_byte(nats: float, text: str) -> float:
    """Negative log-likelihood of a text in bits per UTF-8 byte."""
    return nats / (math.log(2) * len(text.encode()))
