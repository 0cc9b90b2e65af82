"""Rows of train that are also in validation or test, judged on each example's own words.

What is compared: the text of an example's fields, without fields that most rows share (an instruction) and without
its label; inside that text, stretches that many rows share (an instruction written into every prompt) do not count.

Three kinds of copies: ``exact`` (same text), ``normalised`` (same but for case, punctuation and white space) and
``near`` (Jaccard similarity of shingles >= 0.8, found by MinHash and banding, Broder 1997, then computed exactly;
in texts of under about fifty words, two rows whose numbers differ are different rows).
A ``cluster`` that stands in two parts is a leak as well. Inside one part the same text is kept once.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from keeptune.core.errors import DataError
from keeptune.data.examples import Example, Splits
from keeptune.data.minhash import similar_pairs

NEAR = 0.8  # Jaccard similarity from which two texts are near-duplicates
MAX_NEAR_SHARE = 0.01  # of the test rows; above, the run is refused
SHARED = 0.5  # a field whose commonest value stands in more than this share of the rows is left out
_SHORT_WORDS = 50  # median length below which a data set's texts count as short
_SHOWN = 5
_ORDER = ("train", "validation", "test")

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
    rows = [(part, example) for part in _ORDER for example in splits.part(part)]
    examples = [example for _, example in rows]
    names = own_fields(examples, fields)
    texts = [_text(example, names) for example in examples]
    plain = [normalise(text) for text in texts]
    rank = [_ORDER.index(part) for part, _ in rows]
    leaving: dict[int, LeakPair] = {}  # row -> why it leaves
    duplicates: dict[int, LeakPair] = {}
    groups = {"exact": texts, "normalised": plain, "cluster": [example.cluster for example in examples]}
    for kind in ("exact", "normalised", "cluster"):
        for first, others in _repeats(groups[kind], rank):
            for row in others:
                pair = _pair(kind, rows, row, first, 1.0)
                if rank[row] != rank[first]:
                    leaving.setdefault(row, pair)
                elif kind != "cluster" and _same_answer(examples[row], examples[first], names):
                    duplicates.setdefault(row, pair)
    near, touched = _near(rows, plain, rank, {*leaving, *duplicates})
    for row in leaving:
        duplicates.pop(row, None)
    kinds: dict[str, list[LeakPair]] = defaultdict(list)
    for pair in leaving.values():
        kinds[pair.kind].append(pair)
    return LeakReport(
        tuple(kinds["exact"]),
        tuple(kinds["normalised"]),
        tuple(near),
        tuple(kinds["cluster"]),
        tuple(duplicates.values()),
        Counter(rows[row][0] for row in touched),
        names,
    )


def guard(
    splits: Splits, fields: Sequence[str] | None = None, on_leak: Literal["error", "drop"] = "error"
) -> tuple[Splits, LeakReport]:
    """The parts without leaks and without repeated rows, and what was found.

    Exact and normalised copies and clusters in two parts are refused, near-duplicates leave the earlier part and
    are refused above 1 % of test. With ``on_leak='drop'`` everything that repeats a row of a later
    part leaves the earlier part instead (train before validation before test; test rows always stay).

    Raises:
        DataError: a leak that is refused, with the first five pairs, or a part that is empty afterwards.
    """
    report = find_leaks(splits, fields)
    if on_leak == "error":
        _refuse(report, splits)
    gone = {(pair.part, pair.id) for pair in report.copies + report.near}
    doubles = {(pair.part, pair.where, pair.id) for pair in report.duplicates}
    parts = {name: _kept(splits.part(name), name, gone, doubles) for name in _ORDER}
    for name in _ORDER:
        if splits.part(name) and not parts[name]:
            raise DataError(
                f"every row of {name} repeats a row of another part",
                remedy="keep one copy of each row and let the parts be drawn anew",
            )
    notes = [*splits.notes]
    if report.copies or report.near:
        notes.append(f"{report.sentence()}; the rows left the earlier part")
    if report.duplicates:
        notes.append(f"{len(report.duplicates)} repeated rows inside a part were kept once")
    cleaned = replace(
        splits,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        near_duplicates=splits.near_duplicates + sum(pair.part == "train" for pair in report.near),
        duplicates=splits.duplicates + sum(pair.part == "train" for pair in report.duplicates),
        notes=tuple(notes),
    )
    return cleaned, report


def own_fields(examples: Sequence[Example], among: Sequence[str] | None = None) -> tuple[str, ...]:
    """Fields that tell rows apart: not what most rows share, not the label, not a handful of values.

    A field that is empty in most rows (the input of open instructions) tells the others apart, and stays.
    ``among`` limits the choice. Where no field is left, those that are not the label are taken, then all.
    """
    values: dict[str, Counter[str]] = defaultdict(Counter)
    labels: Counter[str] = Counter()
    for example in examples:
        for name, value in example.fields.items():
            if among is not None and name not in among:
                continue
            text = _flat(value)
            values[name][text] += 1
            labels[name] += example.label is not None and text.strip() == example.label.strip()
    n = len(examples)
    kept = []
    for name, counts in values.items():
        shared = any(text.strip() and count > SHARED * n for text, count in counts.most_common(2))
        few = n >= 50 and len(counts) <= max(2, n // 20)
        if not (shared or few or labels[name] > SHARED * n):
            kept.append(name)
    return tuple(kept or [name for name in values if labels[name] <= SHARED * n] or values)


def normalise(text: str) -> str:
    """Lower case, letters and digits only, single blanks; the text itself where nothing would be left."""
    return " ".join(re.findall(r"\w+", text.lower())) or " ".join(text.split())


def _near(
    rows: Sequence[tuple[str, Example]], plain: Sequence[str], rank: Sequence[int], skip: set[int]
) -> tuple[list[LeakPair], set[int]]:
    """For every row outside ``skip`` its closest near-duplicate in a later part; all rows that are such duplicates."""
    kept = [row for row in range(len(rows)) if row not in skip]
    found: dict[int, tuple[float, int]] = {}
    touched: set[int] = set()
    for left, right, similarity in _alike([plain[row] for row in kept], [rank[row] for row in kept]):
        row, other = kept[left], kept[right]
        touched.add(other)
        if similarity > found.get(row, (0.0, 0))[0]:
            found[row] = (similarity, other)
    closest = [_pair("near", rows, row, other, similarity) for row, (similarity, other) in sorted(found.items())]
    return closest, touched


def _alike(plain: Sequence[str], groups: Sequence[int]) -> Iterable[tuple[int, int, float]]:
    """Near-duplicates among normalised texts of different groups: (row, row of a later group, similarity)."""
    lengths = sorted(text.count(" ") + 1 for text in plain)
    short = not lengths or lengths[len(lengths) // 2] < _SHORT_WORDS
    for left, right, similarity in similar_pairs(plain, groups, NEAR, characters=short):
        if not short or _numbers(plain[left]) == _numbers(plain[right]):
            yield left, right, similarity


def keep_together(examples: Sequence[Example], fields: Sequence[str] | None = None) -> list[Example]:
    """Rows that are still to be divided and look the same (copies, near-duplicates) get one cluster.

    So no part that is carved out can repeat another. Where more than a tenth of the rows would end in one cluster
    (rows filled into one form), clusters stay as they are.
    """
    pool = [row for row, example in enumerate(examples) if example.part in (None, "train")]
    names = own_fields(examples, fields)
    plain = [normalise(_text(examples[row], names)) for row in pool]
    parent = list(range(len(pool)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    same: dict[tuple[str, str], int] = {}
    for row, text in enumerate(plain):
        for key in (("text", text), ("cluster", examples[pool[row]].cluster)):
            parent[root(row)] = root(same.setdefault(key, row))
    for left, right, _ in _alike(plain, range(len(pool))):
        parent[root(left)] = root(right)
    roots = [root(row) for row in range(len(pool))]
    sizes = Counter(roots)
    if not sizes or max(sizes.values()) > max(10, len(pool) // 10):
        return list(examples)
    name: dict[int, str] = {}  # the smallest of the merged clusters' names: the order of the rows plays no role
    for row, top in zip(pool, roots, strict=True):
        name[top] = min(name.get(top, examples[row].cluster), examples[row].cluster)
    merged = list(examples)
    for row, top in zip(pool, roots, strict=True):
        merged[row] = replace(examples[row], cluster=name[top])
    return merged


def _repeats(keys: Sequence[str], rank: Sequence[int]) -> Iterable[tuple[int, list[int]]]:
    """Groups of rows with one key: the one that stays (latest part, then first) and the others."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    for members in groups.values():
        if len(members) > 1:
            stays = max(members, key=lambda row: (rank[row], -row))
            yield stays, [row for row in members if row != stays]


def _same_answer(one: Example, other: Example, names: Sequence[str]) -> bool:
    """The fields outside the comparison agree too: a repeated row, not another answer to the same question."""
    rest = {*one.fields, *other.fields} - {*names}
    return all(_flat(one.fields.get(name)) == _flat(other.fields.get(name)) for name in rest)


def _pair(kind: Kind, rows: Sequence[tuple[str, Example]], row: int, other: int, similarity: float) -> LeakPair:
    (part, example), (other_part, twin) = rows[row], rows[other]
    return LeakPair(kind, part, example.id, _where(example), other_part, twin.id, _where(twin), similarity)


def _refuse(report: LeakReport, splits: Splits) -> None:
    if report.copies:
        raise DataError(
            f"{len(report.copies)} rows repeat rows of another part ({report.sentence()}): {_listed(report.copies)}",
            remedy="remove them from the data, or let them leave the earlier part: on_leak: drop in the recipe,"
            " --on-leak drop on the command line",
        )
    touched = report.near_held_out.get("test", 0)
    if touched > MAX_NEAR_SHARE * len(splits.test):
        raise DataError(
            f"{touched} of {len(splits.test)} test rows have near-duplicates in an earlier part "
            f"(at most {MAX_NEAR_SHARE:.0%} is accepted): {_listed(report.near)}",
            remedy="name their common source as the cluster, or let them leave the earlier part: on_leak: drop in the"
            " recipe, --on-leak drop on the command line",
        )


def _listed(pairs: Sequence[LeakPair]) -> str:
    more = f"; and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    return "; ".join(str(pair) for pair in pairs[:_SHOWN]) + more


def _kept(
    examples: Sequence[Example], part: str, gone: set[tuple[str, str]], doubles: set[tuple[str, str, str]]
) -> list[Example]:
    kept: list[Example] = []
    seen: set[str] = set()
    for example in examples:
        double = (part, _where(example), example.id) in doubles or example.id in seen
        if (part, example.id) not in gone and not double:
            kept.append(example)
            seen.add(example.id)
    return kept


def _text(example: Example, names: Sequence[str]) -> str:
    return "\n".join(_flat(example.fields.get(name)) for name in names)


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return "" if value is None else str(value)


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def _where(example: Example) -> str:
    return f"{example.path}:{example.line}" if example.path else example.id
