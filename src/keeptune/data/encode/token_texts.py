"""Rows token by token, as texts that add up to the row's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeptune.core.tokens import Kind, Token
from keeptune.data.encode.mask_check import decoded
from keeptune.data.examples import Encoded

PENDING = 8  # tokens that may wait for the rest of a character; no character has more bytes than four
BROKEN = "\ufffd"  # what decoders print for half a character


def excerpt(tokens: Sequence[Token], most: int) -> list[Token]:
    """At most ``most`` tokens around the first supervised one, and how many are not shown on either side."""
    if len(tokens) <= most:
        return list(tokens)
    border = next((place for place, token in enumerate(tokens) if token.kind != "prompt"), 0)
    low = max(0, min(border - most * 5 // 8, len(tokens) - most))
    high = low + most
    return [*omitted(tokens[:low]), *tokens[low:high], *omitted(tokens[high:])]


def row_tokens(tokenizer: Any, row: Encoded, answer: Kind = "trained", cut: range = range(0)) -> list[Token]:
    """Every token of the row; ``cut`` are the places of those that the window takes away."""
    ids = (*row.prompt_ids, *row.completion_ids)
    start = len(row.prompt_ids)
    supervised = {start + place for low, high in row.spans for place in range(low, high)}
    special = set(tokenizer.all_special_ids)
    return [
        Token(id, text, answer if place in supervised else "prompt", id in special, place in cut)
        for place, (id, text) in enumerate(zip(ids, token_texts(tokenizer, ids), strict=True))
    ]


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text in front of it.

    Tokens are decoded behind their neighbour, because many decoders drop the space of a text's first token. Bytes of
    one character may be spread over several tokens: the last of them has the character, those before it have nothing.
    """
    special = set(tokenizer.all_special_ids)
    texts: list[str] = []
    before = done = 0  # ids[before:done] is the neighbour, already spelled
    for place, id in enumerate(ids):
        if id in special:
            texts.append(str(tokenizer.convert_ids_to_tokens(id)))
            before, done = place, place + 1
            continue
        base = decoded(tokenizer, ids[before:done])
        text = decoded(tokenizer, ids[before : place + 1])
        last = place + 1 == len(ids) or ids[place + 1] in special or place - done >= PENDING
        if text.endswith(BROKEN) and not last:
            texts.append("")
            continue
        texts.append(text[len(base) :] if text.startswith(base) else decoded(tokenizer, ids[done : place + 1]))
        before, done = done, place + 1
    return texts


def omitted(tokens: Sequence[Token]) -> list[Token]:
    """One token that stands for all of these."""
    return [Token(-1, f"{len(tokens):,} tokens", tokens[0].kind, omitted=len(tokens))] if tokens else []
