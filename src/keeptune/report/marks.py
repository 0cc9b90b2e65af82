"""Marks the words of an output that its closest reference does not have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from markupsafe import Markup, escape

WORD_LIMIT = 400  # the matcher is quadratic; longer outputs are shown without marks


def mark_differences(text: str, references: Sequence[str]) -> Markup:
    """Escaped `text` with runs of words that are not in the closest reference inside <mark>.

    Words are compared without case and surrounding punctuation; closeness is the matcher's ratio. Without
    a reference, or with more than 400 words, the text is only escaped.
    """
    pieces = re.split(r"(\s+)", text)
    words = [piece for piece in pieces if piece.strip()]
    targets = [target for target in ([_key(word) for word in reference.split()] for reference in references) if target]
    if not words or not targets or len(words) > WORD_LIMIT:
        return escape(text)
    keys = [_key(word) for word in words]
    matchers = [SequenceMatcher(None, target[:WORD_LIMIT], keys, autojunk=False) for target in targets]
    closest = max(matchers, key=lambda matcher: matcher.ratio())
    shared = {block.b + offset for block in closest.get_matching_blocks() for offset in range(block.size)}
    return _join(pieces, shared)


def _key(word: str) -> str:
    return re.sub(r"^\W+|\W+$", "", word.lower()) or word


def _join(pieces: Sequence[str], shared: set[int]) -> Markup:
    """Puts words and white space together again; neighbouring differing words share one <mark>."""
    out: list[Markup] = []
    run: list[str] = []  # an open run of differing words and the space after it
    index = 0
    for piece in pieces:
        if not piece.strip():
            (run if run else out).append(escape(piece))
            continue
        if index in shared:
            out.append(_close(run))
            run = []
            out.append(escape(piece))
        else:
            run.append(piece)
        index += 1
    out.append(_close(run))
    return Markup("").join(out)


def _close(run: Sequence[str]) -> Markup:
    if not run:
        return Markup("")
    text = "".join(run)
    body = text.rstrip()
    return Markup("<mark>{}</mark>{}").format(body, text[len(body) :])
