"""Rows of train that are also in validation or test, judged on each example's own words.

What is compared: the text of an example's fields, without fields that most rows share (an instruction) and without
its label; inside that text, stretches that many rows share (an instruction written into every prompt) do not count.

Three kinds of copies: ``exact`` (same text), ``normalised`` (same but for case, punctuation and white space) and
``near`` (about a tenth of the words differ; of short texts, a typo: see `minhash`. In texts of under fifty words, two
rows whose numbers differ are different rows).
A ``cluster`` that stands in two parts is a leak as well. Inside one part the same text is kept once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from keeptune.core.records import Part
from keeptune.data.examples import Example, Splits
from keeptune.data.splits.compared import TELLING, flat, location, normalise, own_fields, own_text_of
from keeptune.data.splits.copies import alike, fingerprints, repeats
from keeptune.data.splits.exchanges import answered
from keeptune.data.splits.minhash import Int
from keeptune.data.storage.lazy import Concat, Subset

ORDER = ("train", "validation", "test")

Kind = Literal["exact", "normalised", "near", "cluster"]


@dataclass(frozen=True, slots=True)
class LeakPair:
    """A row and the row of a later part that it repeats. The later part is the one that must stay clean."""

    kind: Kind
    part: str  # where the row stands that has to leave
    id: str
    where: str  # path:line
    other_part: str
    other_id: str
    other_where: str
    similarity: float

    def __str__(self) -> str:
        return f"{self.part} {self.where} = {self.other_part} {self.other_where} ({self.kind}, {self.similarity:.2f})"


@dataclass(frozen=True, slots=True)
class LeakReport:
    """All leaks of one task. Each row that should leave is listed once, with its closest counterpart."""

    exact: tuple[LeakPair, ...]
    normalised: tuple[LeakPair, ...]
    near: tuple[LeakPair, ...]
    cluster: tuple[LeakPair, ...]
    duplicates: tuple[LeakPair, ...]  # inside one part; the row that stays is the other one
    near_held_out: Mapping[str, int]  # part -> its rows that have near-duplicates in an earlier part
    fields: tuple[str, ...]  # what was compared

    @property
    def copies(self) -> tuple[LeakPair, ...]:
        """What is refused however rare it is."""
        return self.exact + self.normalised + self.cluster

    def sentence(self) -> str:
        """One sentence for people."""
        counted = {"exact": self.exact, "normalised": self.normalised, "near": self.near, "cluster": self.cluster}
        found = [f"{len(pairs)} {kind}" for kind, pairs in counted.items() if pairs]
        return f"{', '.join(found) or 'no'} leaks between the parts, judged on {', '.join(self.fields)}"


def find_leaks(splits: Splits, fields: Sequence[str] | None = None) -> LeakReport:
    """Compare the parts of a task with each other.

    Args:
        splits: the three parts.
        fields: the fields that make two rows the same (a layout's prompt columns); if None, all. Of these,
            `own_fields` leaves out what most rows share, and the label.
    """
    examples = Concat([splits.part(part) for part in ORDER])
    rank = np.repeat(range(len(ORDER)), [len(splits.part(part)) for part in ORDER])
    names = own_fields(examples, fields)
    keys, plain = fingerprints(examples, names)
    leaving: dict[int, LeakPair] = {}  # row -> why it leaves
    duplicates: dict[int, LeakPair] = {}
    kinds: tuple[Literal["exact", "normalised", "cluster"], ...] = ("exact", "normalised", "cluster")
    for kind in kinds:
        for first, others in repeats(keys[kind], rank):
            for row in others:
                pair = _pair(kind, examples, rank, row, first, 1.0)
                if rank[row] != rank[first]:
                    leaving.setdefault(row, pair)
                elif kind != "cluster" and _same_answer(examples[row], examples[first], names):
                    duplicates.setdefault(row, pair)
    for row, other in answered(examples, rank):
        leaving.setdefault(row, _pair("normalised", examples, rank, row, other, 1.0))
    near, touched = _near(examples, plain, rank, {*leaving, *duplicates})
    for row in leaving:
        duplicates.pop(row, None)
    found: dict[str, list[LeakPair]] = defaultdict(list)
    for pair in leaving.values():
        found[pair.kind].append(pair)
    return LeakReport(
        tuple(found["exact"]),
        tuple(found["normalised"]),
        tuple(near),
        tuple(found["cluster"]),
        tuple(duplicates.values()),
        Counter(ORDER[rank[row]] for row in touched),
        names,
    )


def asked_elsewhere(
    tasks: Mapping[str, Splits], fields: Mapping[str, Sequence[str]], trained: Collection[str]
) -> dict[str, tuple[LeakPair, ...]]:
    """Task -> its train rows that another task asks on validation or test, alike but for case, punctuation and blanks.

    A short text recurs by itself, asked something else in every task: only texts of `TELLING` words are compared.

    Args:
        tasks: the parts of every task.
        fields: the fields that may be compared (a layout's prompt columns), where they are known.
        trained: the tasks whose train rows are trained on; those of others are not read.
    """

    def texts(name: str, *parts: Part) -> Iterator[tuple[str, Part, Example]]:
        names = own_fields(Concat([tasks[name].part(part) for part in parts]), fields.get(name))
        for part in parts:
            for example in tasks[name].part(part):
                text = normalise(own_text_of(example, names))
                if text.count(" ") >= TELLING - 1:
                    yield text, part, example

    asked: dict[int, list[tuple[str, str, str, str]]] = defaultdict(list)  # hash of the text -> task, part, id, place
    for name in tasks if len(tasks) > 1 and trained else ():
        for text, part, example in texts(name, "validation", "test"):
            asked[hash(text)].append((name, part, example.id, location(example)))
    found: dict[str, list[LeakPair]] = defaultdict(list)
    for name in tasks if asked else ():
        for text, part, example in texts(name, "train") if name in trained else ():
            for other, asked_part, ident, where in asked.get(hash(text), ()):
                if other != name:
                    at = (location(example), f"{asked_part} of {other}", ident, where)
                    found[name].append(LeakPair("normalised", part, example.id, *at, 1.0))
                    break
    return {name: tuple(pairs) for name, pairs in found.items()}


def _near(
    examples: Sequence[Example], plain: Sequence[str], rank: Int, skip: set[int]
) -> tuple[list[LeakPair], set[int]]:
    """For every row outside ``skip`` its closest near-duplicate in a later part; all such duplicates."""
    kept = np.fromiter((row for row in range(len(plain)) if row not in skip), dtype=np.int64)
    found: dict[int, tuple[float, int]] = {}
    touched: set[int] = set()
    for left, right, similarity in alike(Subset(plain, kept), rank[kept]):
        row, other = int(kept[left]), int(kept[right])
        touched.add(other)
        if similarity > found.get(row, (0.0, 0))[0]:
            found[row] = (similarity, other)
    closest = [
        _pair("near", examples, rank, row, other, similarity) for row, (similarity, other) in sorted(found.items())
    ]
    return closest, touched


def _same_answer(one: Example, other: Example, names: Sequence[str]) -> bool:
    """The fields outside the comparison agree too: a repeated row, not another answer to the same question."""
    rest = {*one.fields, *other.fields} - {*names}
    return all(flat(one.fields.get(name)) == flat(other.fields.get(name)) for name in rest)


def _pair(kind: Kind, examples: Sequence[Example], rank: Int, row: int, other: int, similarity: float) -> LeakPair:
    example, twin = examples[row], examples[other]
    part, other_part = ORDER[rank[row]], ORDER[rank[other]]
    return LeakPair(kind, part, example.id, location(example), other_part, twin.id, location(twin), similarity)
