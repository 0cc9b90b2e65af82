"""Tokens as they are shown: `inspect` prepares what pages draw, and neither knows the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# expected: the answer to a few-shot prompt, never trained on; written: by the model
Kind = Literal["prompt", "trained", "expected", "written"]

CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}


@dataclass(frozen=True, slots=True)
class Token:
    """One token, or (``omitted`` above 0) the place of that many which are not shown."""

    id: int
    text: str  # what it adds to the text in front of it; empty where a later token completes the character
    kind: Kind
    special: bool = False
    cut: bool = False  # the model never sees it: the row is longer than the window
    omitted: int = 0

    @property
    def look(self) -> str:
        """How it is drawn, in words: 'trained special', 'prompt cut', 'omitted'."""
        if self.omitted:
            return "omitted"
        return " ".join([self.kind, *(["special"] if self.special else []), *(["cut"] if self.cut else [])])


@dataclass(frozen=True, slots=True)
class TokenView:
    """One row in one wording."""

    name: str  # of the wording
    prompt_tokens: int
    completion_tokens: int  # end token included
    tokens: tuple[Token, ...]
    drawn: bool = False  # the wording that training takes for this row
    shots: int = 0  # worked examples in front
    dropped: int = 0  # worked examples that found no room
    problem: str = ""  # why the row cannot be used as it is, and what becomes of it

    @property
    def asked(self) -> bool:
        """Whether this is a prompt of evaluation: nothing of it is trained on."""
        return self.shots + self.dropped > 0


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row in every wording."""

    place: str  # file:line
    part: str
    views: tuple[TokenView, ...]


@dataclass(frozen=True, slots=True)
class TokenPage:
    """All that the page of a preview says."""

    source: str
    model: str
    layout: str
    window: int
    policy: str  # what becomes of rows that are longer than the window
    seed: int  # of the wordings; number of the draw of worked examples where there are some
    rows: tuple[TokenRow, ...]
    long: tuple[TokenRow, ...]  # the first rows that do not fit, in the wording that training or evaluation takes
    long_count: int
    looked_at: int  # rows among which those were looked for
    total: int
    notes: tuple[str, ...] = ()
    shots: int = 0  # worked examples in front of the items of evaluation; 0: these are training rows


def printable(text: str) -> str:
    """The text without control characters, which could steer a terminal: each becomes its picture (U+2400...)."""
    return text.translate(CONTROLS)


def visible(text: str) -> str:
    """Spaces, tabs and line ends as signs."""
    return printable(text).replace(" ", "\u2423").replace("\t", "\u21e5").replace("\n", "\u21b5")
