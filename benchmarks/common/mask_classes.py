"""How the token ids and labels of two sides differ, row by row, and why.

Both sides become text with a flag per byte that says whether it is trained, so that they can be compared where their
tokens differ. A difference counts as known only where taking it away leaves nothing: the text and the flags of one
side, changed as the classes say, are those of the other. Tokenizers must be byte-level.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import pre_tokenizers

IGNORED = -100
UNKNOWN = "unexplained"
ROLES = {"human": "user", "gpt": "assistant"}
CALL = re.compile(r"(?<=<tool_call>)\s*(\{.*?\})\s*(?=</tool_call>)", re.DOTALL)
REWRITTEN = {"roles", "null arguments", "arguments as text", "arguments reordered"}  # the text itself is another
HEADER = "<|im_start|>assistant"


@dataclass(frozen=True)
class Ids:
    """One side's row."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @staticmethod
    def of(ids: Sequence[int], mask: Sequence[bool]) -> Ids:
        """From ids and whether each is trained."""
        return Ids(tuple(ids), tuple(i if trained else IGNORED for i, trained in zip(ids, mask, strict=True)))

    @property
    def loss(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the loss is made of: ids up to the last that is predicted, and their labels but for the first."""
        last = max((place for place, label in enumerate(self.labels) if label != IGNORED), default=-1)
        return self.ids[: last + 1], self.labels[1 : last + 1]


@dataclass
class Comparison:
    """One row of both sides, compared."""

    same_ids: bool
    same_labels: bool
    same_loss: bool
    classes: list[str] = field(default_factory=list)
    shown: str = ""  # where it is unexplained


@dataclass
class Flagged:
    """A text, one character per byte, and whether each is trained."""

    text: str
    flags: list[bool]

    def replace(self, start: int, stop: int, text: str) -> None:
        """Other text in a place; its flag is that of the first character there, or of the one behind."""
        flag = self.flags[start] if start < len(self.flags) else False
        self.text = self.text[:start] + text + self.text[stop:]
        self.flags[start:stop] = [flag] * len(text)


class Differ:
    """Compares rows for one tokenizer.

    Args:
        tokenizer: a byte-level one.
        end_id: the token that ends an answer.
        everything: the other side is asked to train more than answers, so that what it trains beyond is known.
    """

    def __init__(self, tokenizer: Any, end_id: int, everything: bool) -> None:
        self.tokenizer = tokenizer
        self.special = {token: token for token in (*tokenizer.all_special_tokens, *tokenizer.get_added_vocab())}
        self.end = str(tokenizer.convert_ids_to_tokens(end_id))
        self.everything = everything
        self.bytes = _alphabet()

    def compare(self, theirs: Ids, ours: Ids) -> Comparison:
        """Whether they are the same, and the classes of what differs."""
        found = Comparison(theirs.ids == ours.ids, theirs == ours, theirs.loss == ours.loss)
        if theirs == ours:
            return found
        a, b = self._flagged(theirs), self._flagged(ours)
        classes = [*self._texts(a, b), *self._flags(a, b, theirs)]
        if theirs.ids != ours.ids and not classes and a.text == b.text:
            classes = ["joined"]
        elif theirs.ids != ours.ids and self._tokens_differ(theirs, ours, classes):
            classes.append("joined")
        found.classes = list(dict.fromkeys(classes))
        if UNKNOWN in classes:
            found.shown = f"theirs {self._marked(a)}\nours   {self._marked(b)}"
        return found

    def _tokens_differ(self, theirs: Ids, ours: Ids, classes: Sequence[str]) -> bool:
        """Where the texts are the same, whether the same text has other tokens."""
        if set(classes) & {UNKNOWN, *REWRITTEN}:
            return False
        start = len(ours.ids) - len(theirs.ids) if "start" in classes else 0
        shorter = min(len(theirs.ids), len(ours.ids) - start)
        return theirs.ids[:shorter] != ours.ids[start:][:shorter]

    def _flagged(self, row: Ids) -> Flagged:
        made = Flagged("", [])
        for token_id, label in zip(row.ids, row.labels, strict=True):
            token = str(self.tokenizer.convert_ids_to_tokens(token_id))
            text = self.special.get(token) or "".join(self.bytes[character] for character in token)
            made.text += text
            made.flags += [label != IGNORED] * len(text)
        return made

    def _texts(self, a: Flagged, b: Flagged) -> Iterator[str]:
        """Classes of what the texts differ in; taken away from both."""
        for theirs, ours in ROLES.items():
            while (place := a.text.find(f"<|im_start|>{theirs}\n")) >= 0:
                a.replace(place + len("<|im_start|>"), place + len(f"<|im_start|>{theirs}"), ours)
                yield "roles"
        if a.text != b.text and CALL.search(a.text):
            yield from _plain_calls(a)
            list(_plain_calls(b))
        end = a.text.rfind(self.end) + len(self.end)
        if b.text.endswith(self.end) and end >= len(self.end) and a.text[end:].strip("\n ") == "" and a.text[end:]:
            yield "line end trained" if any(a.flags[end:]) else "line end kept"
            a.replace(end, len(a.text), "")
        for start in self.special:
            if b.text.startswith(start) and b.text == start + a.text:
                yield "start"
                a.text, a.flags = start + a.text, [False, *[False] * (len(start) - 1), *a.flags]
        if a.text != b.text and CALL.search(a.text):
            for each in (a, b):
                list(_plain_calls(each, in_order=True))
            if a.text == b.text:
                yield "arguments reordered"
        if a.text != b.text:
            yield UNKNOWN

    def _flags(self, a: Flagged, b: Flagged, theirs: Ids) -> Iterator[str]:
        """Classes of what is trained on one side only."""
        if a.text != b.text:
            return
        first = len(str(self.tokenizer.convert_ids_to_tokens(theirs.ids[0])))
        if a.flags[0] and not any(b.flags[:first]):
            yield "first label"
            a.flags[:first] = [False] * first
        place = 0
        while place < len(a.text):
            if a.flags[place] == b.flags[place]:
                place += 1
                continue
            stop = place
            while stop < len(a.text) and a.flags[stop] != b.flags[stop] and a.flags[stop] == a.flags[place]:
                stop += 1
            yield self._run(a, place, stop)
            place = stop

    def _run(self, a: Flagged, start: int, stop: int) -> str:
        """The class of a stretch that one side trains."""
        before, text = a.text[:start], a.text[start:stop]
        if not a.flags[start]:  # trained here, not there
            moved = text.strip(" ") == "" and stop < len(a.text) and a.flags[stop] and not any(a.flags[:stop])
            return "space moved" if moved else UNKNOWN
        if text == "\n" and before.endswith(self.end):
            return "line end trained"
        if text == "\n" and before.endswith(HEADER):
            return "header trained"
        if self.everything:
            return "all trained"
        # a token that reaches over the border belongs to the completion as a whole
        return "joined" if stop < len(a.text) and a.flags[stop] and self.end not in text and len(text) < 16 else UNKNOWN

    def _marked(self, row: Flagged) -> str:
        text, trained = "", False
        for character, flag in zip(row.text, row.flags, strict=True):
            text += ("⟦" if flag else "⟧") * (flag != trained) + character
            trained = flag
        return repr(text)


def _plain_calls(row: Flagged, in_order: bool = False) -> Iterator[str]:
    """Calls in one spelling, without nulls, arguments as objects, keys sorted; the classes of what that changes."""
    for match in reversed(list(CALL.finditer(row.text))):
        try:
            call = json.loads(match[1])
        except ValueError:  # a template's explanation of how calls are written
            continue
        if isinstance(call.get("arguments"), str):
            yield "arguments as text"
            call["arguments"] = json.loads(call["arguments"])
        bare = _without_nulls(call)
        if bare != call:
            yield "null arguments"
        row.replace(match.start(1), match.end(1), json.dumps(bare, sort_keys=in_order, ensure_ascii=False))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _alphabet() -> dict[str, str]:
    """Character of a byte-level token -> the byte that it stands for, as a character of latin-1."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    other = [byte for byte in range(256) if byte not in kept]
    made = {chr(byte): chr(byte) for byte in kept} | {chr(256 + n): chr(byte) for n, byte in enumerate(other)}
    assert set(made) == set(pre_tokenizers.ByteLevel.alphabet())
    return made
