"""Conversations that hold a question, and its answer, that a row of a later part asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keeptune.data.examples import Example
from keeptune.data.formats.conversation import asked_turn, own_text
from keeptune.data.splits.compared import TELLING, normalise
from keeptune.data.splits.minhash import Int

LONG_TURN = 20  # words of a question that nobody repeats as a courtesy
STOCK = 3  # an exchange that follows more different turns than that is said at the end of any talk


def answered(examples: Sequence[Example], rank: Int) -> Iterator[tuple[int, int]]:
    """Conversations with a turn, and its answer, that a row of a later part asks; and that row.

    Whatever was said before: the rest of the conversation may be longer, shorter or another.
    """
    if not len(examples) or "messages" not in examples[0].fields:  # rows of a source have one shape: none is read
        return
    asked: dict[int, int] = {}
    for row in np.flatnonzero(rank > 0).tolist():
        turns = _turns(examples[row])
        for exchange, _ in _exchanges(turns, [asked_turn(turns)] if turns else []):
            asked[exchange] = row
    found: list[tuple[int, int, int]] = []  # row, row of a later part, exchange
    behind: dict[int, set[int]] = defaultdict(set)  # exchange -> what was said before it
    for row, example in enumerate(examples if asked else ()):
        turns = _turns(example)
        for exchange, before in _exchanges(turns, range(len(turns))):
            if exchange in asked:
                behind[exchange].add(before)
                found.append((row, asked[exchange], exchange))
    for row, other, exchange in found:
        if rank[other] > rank[row] and len(behind[exchange]) <= STOCK:
            yield row, other


def _turns(example: Example) -> Sequence[Mapping[str, Any]]:
    """Of a conversation as `conversation.supervised` left it; of another row none."""
    turns = example.fields.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) and "trained" in turn for turn in turns):
        return ()
    return turns if any(turn["trained"] for turn in turns) else ()


def _exchanges(turns: Sequence[Mapping[str, Any]], answers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Hashes of a user's turn and the trained answer behind it, where both have `TELLING` words together; and of what
    was said before (0 at the begin).

    A short turn ("Thanks!") means nothing without what it follows: there that is part of the exchange, and of a long
    one nothing is.
    """
    for number in answers:
        if number and turns[number]["trained"] and turns[number - 1]["role"] == "user":
            words = [normalise(own_text(turns[place])) for place in (number - 1, number)]
            if " ".join(words).count(" ") < TELLING - 1:
                continue
            follows = number > 1 and turns[number - 2]["role"] != "system"
            before = normalise(own_text(turns[number - 2])) if follows else ""
            short = words[0].count(" ") < TELLING - 1
            long = words[0].count(" ") >= LONG_TURN
            yield hash((*words, before if short else "")), 0 if long or not follows else hash(before)
