"""Texts without prompt and completion: segments, of which some are learned from, and whole texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.recognise import COMPLETION
from keeptune.data.formats.shapes.base import FORMATS, Columns, Fields, Format, has_keys, items
from keeptune.data.formats.values import UnusableValue

BESIDE_TEXT = frozenset(
    ("id", "text", "meta", "metadata", "url", "timestamp", "source", "title", "date", "lang", "language", "split")
)


@FORMATS.register("segments")
class LabelledSegments(Format):
    """One column: ``[{"label": false, "text": "Q: 1 + 1?"}, {"label": true, "text": "2"}, ...]``."""

    words = "segments of text, learned from where the label is true"
    order = 70

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        return columns.holding(has_keys(("label",), ("text",)))[:1]

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        pieces = items(fields, taken[0])
        for piece in pieces:
            if not isinstance(piece, Mapping) or not isinstance(piece.get("text"), str):
                raise UnusableValue(f"field '{taken[0]}' is not a list of texts with labels")
            if not isinstance(piece.get("label"), bool):
                raise UnusableValue(
                    f"field '{taken[0]}' has the label {piece.get('label')!r}; true or false was expected"
                )
        segments = [[piece["text"], piece["label"]] for piece in pieces if piece["text"]]
        while segments and not segments[-1][1]:
            segments.pop()
        if not segments:
            raise UnusableValue(f"field '{taken[0]}' has no segment to learn from")
        yield {
            "prompt": "".join(text for text, _ in segments[:-1]),
            COMPLETION: segments[-1][0],
            "segments": segments,
        }


@FORMATS.register("text")
class WholeTexts(Format):
    """One column ``text``, and none that says more than where it is from."""

    words = "whole texts"
    order = 100
    roles = (COMPLETION,)

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        found = columns.any_of("text")
        plain = set(columns.named) <= BESIDE_TEXT and found and set(found) <= set(columns.holding(_is_text))
        return found if plain else ()

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        text = fields.get(taken[0])
        if not isinstance(text, str) or not text.strip():
            raise UnusableValue(f"field '{taken[0]}' is not a text, or empty")
        yield {COMPLETION: text, "segments": [[text, True]]}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
