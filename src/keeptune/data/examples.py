"""Examples: the rows of a task, with stable ids, before any template or tokenizer has touched them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from keeptune.core.units import content_hash


def place(example: Example) -> str:
    """'line 12', as the source counts."""
    return f"line {example.line}"


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a task.

    ``fields`` are the row's own columns: what templates render and what leak checks compare (never the
    instruction text that all rows share). ``id`` is a hash of the fields, so it survives reordering.
    ``cluster`` names the source that several rows may share (three summaries of one dialogue).
    """

    id: str
    cluster: str
    fields: Mapping[str, Any]
    label: str | None = None  # the stratum for splitting; the answer, where answers are few
    part: str | None = None  # train | validation | test where the source says so
    path: str = ""
    line: int = 0

    @staticmethod
    def make(
        fields: Mapping[str, Any],
        *,
        cluster: str | None = None,
        label: str | None = None,
        part: str | None = None,
        path: str = "",
        line: int = 0,
    ) -> Example:
        """An example whose id is the hash of its fields."""
        ident = content_hash(dict(fields))
        return Example(ident, cluster or ident, fields, label, part, path, line)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns as `conversation` makes them, up to the last that is trained."""

    turns: tuple[Mapping[str, Any], ...]
    asked: int  # the turn that evaluation asks for
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def trained(self) -> tuple[int, ...]:
        """Numbers of the turns that are learned from."""
        return tuple(number for number, turn in enumerate(self.turns) if turn["trained"])


@dataclass(frozen=True, slots=True)
class Segments:
    """A text in pieces, no template around it: (text, whether it is learned from); the last one is."""

    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A row that someone tokenised before."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """An example as text: what every consumer (training, evaluation, serving) starts from.

    ``prompt`` is plain text, or the user's turn where ``chat`` is set (the chat template is then applied at
    encoding). ``choices`` are the completions to be scored for choice tasks, ``answer`` is the index of the
    right one. ``references`` holds every accepted completion, the first of which is trained on. ``path`` and
    ``line`` say where the row came from. ``whole`` is set where prompt and completion are only the last part of
    the row: it is then encoded from there, and the two are for reading and comparing.
    """

    id: str
    cluster: str
    prompt: str
    completion: str
    references: tuple[str, ...]
    choices: tuple[str, ...] | None = None
    answer: int | None = None
    system: str | None = None
    chat: bool = False
    path: str = ""
    line: int = 0
    whole: Conversation | Segments | Tokens | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one example. The loss mask is 0 over ``prompt_ids`` and 1 over ``completion_ids`` but for ``gaps``.

    ``gaps`` are (start, stop) inside ``completion_ids``: what a conversation's user says between two answers.
    ``completion_ids`` ends with the end-of-sequence token, but for sampled text that was cut off. The two were
    tokenised apart, so the boundary is the same in training and at inference.
    """

    id: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """(start, stop) of every supervised stretch of ``completion_ids``."""
        borders = [0, *(border for gap in self.gaps for border in gap), len(self.completion_ids)]
        return tuple(zip(borders[::2], borders[1::2], strict=True))

    @property
    def trained(self) -> int:
        """How many tokens are supervised."""
        return len(self.completion_ids) - sum(stop - start for start, stop in self.gaps)

    @staticmethod
    def masked(id: str, ids: Sequence[int], mask: Sequence[bool]) -> Encoded:
        """The row up to its last supervised token.

        Raises:
            ValueError: there is none.
        """
        places = [place for place, trained in enumerate(mask) if trained]
        if not places:
            raise ValueError("a row without supervised tokens")
        first, last = places[0], places[-1]
        gaps = tuple((a + 1 - first, b - first) for a, b in pairwise(places) if b > a + 1)
        return Encoded(id, tuple(ids[:first]), tuple(ids[first : last + 1]), gaps)


@dataclass(frozen=True, slots=True)
class Splits:
    """The three parts of one task, disjoint by cluster, and what had to leave them."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    near_duplicates: int = 0  # train rows that left because a test or validation row looks the same
    duplicates: int = 0  # train rows that left because another train row is the same
    notes: tuple[str, ...] = field(default=())

    def part(self, name: str) -> Sequence[Example]:
        """'train', 'validation' or 'test'."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]
