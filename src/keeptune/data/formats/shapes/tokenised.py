"""Rows that someone tokenised before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typing_extensions import override

from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.recognise import COMPLETION, canonical
from keeptune.data.formats.shapes.base import FORMATS, Columns, Fields, Format
from keeptune.data.formats.values import UnusableValue

IGNORED = -100  # label of a token that is not trained, as transformers writes it


@FORMATS.register("tokenised")
class Tokenised(Format):
    """``input_ids``; beside them ``labels`` and ``attention_mask``, where some are not learned from."""

    words = "token ids with labels"
    order = 80

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        found = columns.any_of("input_ids")
        if not found or not set(found) <= set(columns.holding(_is_ids)):
            return ()
        return [*found, *columns.any_of("labels", "attention_mask", "token_type_ids", "position_ids")]

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        names = {canonical(column): column for column in taken}
        ids = fields.get(names["input_ids"])
        if not ids or not _is_ids(ids) or not all(type(item) is int and item >= 0 for item in ids):
            raise UnusableValue("field 'input_ids' is not a list of token ids")
        labels, seen = (
            fields.get(names[name]) if name in names else default
            for name, default in (("labels", ids), ("attention_mask", [1] * len(ids)))
        )
        if not isinstance(labels, list | tuple) or not isinstance(seen, list | tuple):
            raise UnusableValue("field 'labels' or 'attention_mask' is not a list")
        if len(labels) != len(ids) or len(seen) != len(ids):
            raise UnusableValue(f"{len(ids)} input_ids, {len(labels)} labels and {len(seen)} of attention_mask")
        real = [i for i, bit in enumerate(seen) if bit]
        ids, labels = [ids[i] for i in real], [labels[i] for i in real]
        wrong = next((i for i, label in enumerate(labels) if label not in (IGNORED, ids[i])), None)
        if wrong is not None:
            raise UnusableValue(f"label {labels[wrong]} at token {wrong} is neither its id {ids[wrong]} nor {IGNORED}")
        mask = [label != IGNORED for label in labels]
        if not any(mask):
            raise UnusableValue("no token is supervised: every label is -100")
        last = max(i for i, bit in enumerate(mask) if bit)
        first = last
        while first and mask[first - 1]:
            first -= 1
        yield {
            "prompt": " ".join(map(str, ids[:first])),
            COMPLETION: " ".join(map(str, ids[first : last + 1])),
            "tokens": {"ids": ids, "trained": [int(bit) for bit in mask]},
        }


def _is_ids(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is int for item in value[:64])
