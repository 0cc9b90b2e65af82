"""The page of `data check`: what was found, and the rows in question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

from markupsafe import Markup

from keeptune import __version__
from keeptune.core.findings import Case, CheckPage
from keeptune.report.page import filled
from keeptune.report.plots import bar

MOST_LABELS = 50  # rows of the table; the rest is summed up


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a quoted text; ``other`` where the row beside it reads differently."""

    text: str
    other: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a bar chart."""

    name: str
    text: str
    mark: Markup


def render_check(page: CheckPage) -> str:
    """The page as text."""
    lengths = [
        (each, [Bar(bin_.span, f"{bin_.n:,}", bar(bin_.n, max(b.n for b in each.bins), False)) for bin_ in each.bins])
        for each in page.lengths
    ]
    return filled(
        "check.html.j2",
        page=page,
        version=__version__,
        lengths=lengths,
        labels=_label_bars(page),
        unshown=max(0, len(page.labels) - MOST_LABELS),
        pieces=quoted_pieces,
    )


def _label_bars(page: CheckPage) -> list[Bar]:
    totals = {label: sum(counts.values()) for label, counts in page.labels.items()}
    everything, most = sum(totals.values()), max(totals.values(), default=0)
    return [
        Bar(label, f"{n:,} ({n / everything:.0%})", bar(n, most, False))
        for label, n in list(totals.items())[:MOST_LABELS]
    ]


def quoted_pieces(case: Case) -> list[list[list[Piece]]]:
    """The text of every field of every row of a case, in pieces; two rows are compared with each other.

    Returns:
        pieces[row][field][piece].
    """
    if len(case.rows) != 2:
        return [[[Piece(text)] for _, text in row.fields] for row in case.rows]
    sides: list[list[list[Piece]]] = [[], []]
    for (_, one), (_, other) in zip_longest(*(row.fields for row in case.rows), fillvalue=("", "")):
        for side, pieces in zip(sides, _compared(one, other), strict=True):
            side.append(pieces)
    return sides


def _compared(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts; words that are not where the other text has them are marked."""
    left, right = (re.findall(r"\w+|\s+|.", text, re.DOTALL) for text in (one, other))
    pieces: tuple[list[Piece], list[Piece]] = ([], [])
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for side, words in zip(pieces, (left[a:b], right[c:d]), strict=True):
            if words:
                side.append(Piece("".join(words), tag != "equal"))
    return pieces
