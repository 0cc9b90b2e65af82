"""T5's pretraining task on prose: spans are cut out of a text, and the answer says what stood in them.

Raffel et al. 2020 (arXiv 1910.10683), section 3.1.4: 15 % of the tokens go, in spans of three on average.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from keeptune.data.examples import Encoded

SHARE, MEAN = 0.15, 3
BLOCK = 128  # tokens of a text


def span_rows(ids: Sequence[int], sentinels: Sequence[int], end: int, rng: random.Random, name: str) -> list[Encoded]:
    """One row for every block of the run of ``ids``: the text with gaps, and the gaps."""
    rows, start = [], rng.randrange(BLOCK)
    while start + BLOCK <= len(ids):
        rows.append(corrupted(ids[start : start + BLOCK], sentinels, end, rng, f"{name}-{len(rows)}"))
        start += BLOCK
    return rows


def corrupted(block: Sequence[int], sentinels: Sequence[int], end: int, rng: random.Random, name: str) -> Encoded:
    """A block whose spans are replaced by sentinels, which stand before what was cut out in the answer."""
    count = max(1, round(SHARE * len(block) / MEAN))
    firsts = sorted(rng.sample(range(1, len(block) - MEAN), count))
    prompt: list[int] = []
    answer: list[int] = []
    at = 0
    for first in firsts:
        if first < at:  # it would touch the span before
            continue
        sentinel, stop = sentinels[len([id for id in answer if id in sentinels])], first + rng.randint(1, 2 * MEAN - 1)
        prompt += [*block[at:first], sentinel]
        answer += [sentinel, *block[first:stop]]
        at = stop
    return Encoded(name, (*prompt, *block[at:], end), (*answer, end))
