"""Rows of train that are also in validation or test, judged on each example's own words.

What is compared: the text of an example's fields, without fields that most rows share (an instruction) and without
its label; inside that text, stretches that many rows share (an instruction written into every prompt) do not count.

Three kinds of copies: ``exact`` (same text), ``normalised`` (same but for case, punctuation and white space) and
``near`` (about a tenth of the words differ; of short texts, a typo: see `minhash`. In texts of under fifty words, two
rows whose numbers differ are different rows).
Of every row only hashes stay in memory; texts are kept on disk where there are many.
A ``cluster`` that stands in two parts is a leak as well. Inside one part the same text is kept once.
"""

from __future__ import annotations

import json
import re
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Any, Literal

import numpy as np

from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.data.examples import Example, Splits
from keeptune.data.formats.conversation import asked_turn, own_text
from keeptune.data.splits.groups import hash_of
from keeptune.data.splits.minhash import Int, similar_pairs
from keeptune.data.storage.lazy import Concat, NumberedMap, Subset, materialize, picked, places
from keeptune.data.storage.spill import Spill

MAX_NEAR_SHARE = 0.01  # of the test rows; above, the run is refused
SHARED = 0.5  # a field whose commonest value stands in more than this share of the rows is left out
_SHORT_WORDS = 50  # a text of fewer says something else where its numbers are others
_SHOWN = 5
TELLING = 8  # words of a text that two rows do not have in common by chance
LONG_TURN = 20  # words of a question that nobody repeats as a courtesy
STOCK = 3  # an exchange that follows more different turns than that is said at the end of any talk
SYMBOLS = "$+<=>|~"  # of ASCII
OPERATORS = "*-/%^"
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
    examples = Concat([splits.part(part) for part in _ORDER])
    rank = np.repeat(range(len(_ORDER)), [len(splits.part(part)) for part in _ORDER])
    names = own_fields(examples, fields)
    keys, plain = _looked_at(examples, names)
    leaving: dict[int, LeakPair] = {}  # row -> why it leaves
    duplicates: dict[int, LeakPair] = {}
    kinds: tuple[Literal["exact", "normalised", "cluster"], ...] = ("exact", "normalised", "cluster")
    for kind in kinds:
        for first, others in _repeats(keys[kind], rank):
            for row in others:
                pair = _pair(kind, examples, rank, row, first, 1.0)
                if rank[row] != rank[first]:
                    leaving.setdefault(row, pair)
                elif kind != "cluster" and _same_answer(examples[row], examples[first], names):
                    duplicates.setdefault(row, pair)
    for row, other in _answered(examples, rank):
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
        Counter(_ORDER[rank[row]] for row in touched),
        names,
    )


def drop_leaks(
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
                text = normalise(_text(example, names))
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


def own_fields(examples: Sequence[Example], among: Sequence[str] | None = None) -> tuple[str, ...]:
    """Fields that tell rows apart: not what most rows share, not the label, not a handful of values.

    A field that is empty in most rows (the input of open instructions) tells the others apart, and stays.
    ``among`` limits the choice. Where no field is left, those that are not the label are taken, then all.
    """
    values: dict[str, array[int]] = {}  # field -> hash of the text in every row that has it, 0 where it is blank
    labels: Counter[str] = Counter()
    for example in examples:
        for name, value in example.fields.items():
            if among is not None and name not in among:
                continue
            text = _flat(value)
            values.setdefault(name, array("q")).append(hash_of(text) if text.strip() else 0)
            labels[name] += example.label is not None and text.strip() == example.label.strip()
    n = len(examples)
    kept = []
    for name, hashes in values.items():
        distinct, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
        shared = counts[distinct != 0].max(initial=0) > SHARED * n
        few = n >= 50 and len(distinct) <= max(2, n // 20)
        if not (shared or few or labels[name] > SHARED * n):
            kept.append(name)
    return tuple(kept or [name for name in values if labels[name] <= SHARED * n] or values)


def normalise(text: str) -> str:
    """Lower case, words and symbols with single blanks between; the text itself where nothing would be left.

    Punctuation goes, but not what changes the meaning: C is not C++, 12 + 7 is not 12 - 7. A letter and its mark are
    the same however Unicode spells them.
    """
    lower = unicodedata.normalize("NFC", text).lower()
    letters = set(lower)
    rare = any(_is_symbol(letter) for letter in letters if letter > "\x7f")
    calculates = not letters.isdisjoint("0123456789") and not letters.isdisjoint(OPERATORS)
    words = _words(rare or not letters.isdisjoint(SYMBOLS), rare, calculates)
    return " ".join(words.findall(lower)) or " ".join(text.split())


@lru_cache(maxsize=1 << 12)
def _is_symbol(letter: str) -> bool:
    return unicodedata.category(letter) in ("Sm", "Sc", "So")  # not Sk: a backtick quotes


@cache
def _words(symbols: bool, rare: bool, calculates: bool) -> re.Pattern[str]:
    """Letters and digits with the marks behind them (vowels of Indic scripts, accents that do not compose); symbols.

    What a text does not have is not looked for: the class of all symbols is thirty times as slow.

    Args:
        symbols: of which a text may have any.
        rare: all of them, not only those of ASCII.
        calculates: signs between two numbers count, too.
    """
    high = [*map(chr, (*range(0x80, 0x10000), *range(0x1F000, 0x1FB00)))]
    marks = "".join(letter for letter in high if unicodedata.category(letter)[0] == "M")
    pattern = rf"\w[\w{marks}]*"
    if symbols:
        pattern += f"|[{re.escape(SYMBOLS)}{''.join(filter(_is_symbol, high)) if rare else ''}]"
    if calculates:
        pattern += rf"|(?:(?<=\d)|(?<=\d\s))[{re.escape(OPERATORS)}](?=\s?\d)"
    return re.compile(pattern)


def _looked_at(examples: Sequence[Example], names: Sequence[str]) -> tuple[dict[str, Int], Sequence[str]]:
    """Of every row the hashes of its text, its normalised text and its cluster; and the normalised texts."""
    exact, normalised, cluster = array("q"), array("q"), array("q")
    plain: Spill[str] = Spill()
    for example in examples:
        text = _text(example, names)
        plain_text = normalise(text)
        exact.append(hash(text))
        normalised.append(hash(plain_text))
        cluster.append(hash(example.cluster))
        plain.append(plain_text)
    arrays = {"exact": exact, "normalised": normalised, "cluster": cluster}
    return {kind: np.array(values, dtype=np.int64) for kind, values in arrays.items()}, plain.finish()


def _answered(examples: Sequence[Example], rank: Int) -> Iterator[tuple[int, int]]:
    """Conversations with a turn, and its answer, that a row of a later part asks; and that row.

    Whatever was said before: the rest of the conversation may be longer, shorter or another.
    """
    if not len(examples) or "messages" not in examples[0].fields:  # rows of a source have one shape: none is read
        return
    asked: dict[int, int] = {}
    for row in np.flatnonzero(rank > 0).tolist():
        turns = _turns(examples[row])
        for exchange, _ in _exchanges(turns, [asked_turn(turns)] if turns else []):
            asked[exchange] = row
    found: list[tuple[int, int, int]] = []  # row, row of a later part, exchange
    behind: dict[int, set[int]] = defaultdict(set)  # exchange -> what was said before it
    for row, example in enumerate(examples if asked else ()):
        turns = _turns(example)
        for exchange, before in _exchanges(turns, range(len(turns))):
            if exchange in asked:
                behind[exchange].add(before)
                found.append((row, asked[exchange], exchange))
    for row, other, exchange in found:
        if rank[other] > rank[row] and len(behind[exchange]) <= STOCK:
            yield row, other


def _turns(example: Example) -> Sequence[Mapping[str, Any]]:
    """Of a conversation as `conversation.supervised` left it; of another row none."""
    turns = example.fields.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) and "trained" in turn for turn in turns):
        return ()
    return turns if any(turn["trained"] for turn in turns) else ()


def _exchanges(turns: Sequence[Mapping[str, Any]], answers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Hashes of a user's turn and the trained answer behind it, where both have `TELLING` words together; and of what
    was said before (0 at the begin).

    A short turn ("Thanks!") means nothing without what it follows: there that is part of the exchange, and of a long
    one nothing is.
    """
    for number in answers:
        if number and turns[number]["trained"] and turns[number - 1]["role"] == "user":
            words = [normalise(own_text(turns[place])) for place in (number - 1, number)]
            if " ".join(words).count(" ") < TELLING - 1:
                continue
            follows = number > 1 and turns[number - 2]["role"] != "system"
            before = normalise(own_text(turns[number - 2])) if follows else ""
            short = words[0].count(" ") < TELLING - 1
            long = words[0].count(" ") >= LONG_TURN
            yield hash((*words, before if short else "")), 0 if long or not follows else hash(before)


def _near(
    examples: Sequence[Example], plain: Sequence[str], rank: Int, skip: set[int]
) -> tuple[list[LeakPair], set[int]]:
    """For every row outside ``skip`` its closest near-duplicate in a later part; all such duplicates."""
    kept = np.fromiter((row for row in range(len(plain)) if row not in skip), dtype=np.int64)
    found: dict[int, tuple[float, int]] = {}
    touched: set[int] = set()
    for left, right, similarity in _alike(Subset(plain, kept), rank[kept]):
        row, other = int(kept[left]), int(kept[right])
        touched.add(other)
        if similarity > found.get(row, (0.0, 0))[0]:
            found[row] = (similarity, other)
    closest = [
        _pair("near", examples, rank, row, other, similarity) for row, (similarity, other) in sorted(found.items())
    ]
    return closest, touched


def _alike(plain: Sequence[str], groups: Int) -> Iterable[tuple[int, int, float]]:
    """Near-duplicates among normalised texts of different groups: (row, row of a later group, similarity)."""
    for left, right, similarity in similar_pairs(plain, groups):
        one, other = plain[left], plain[right]
        if min(one.count(" "), other.count(" ")) + 1 >= _SHORT_WORDS or _numbers(one) == _numbers(other):
            yield left, right, similarity


def keep_together(examples: Sequence[Example], fields: Sequence[str] | None = None) -> Sequence[Example]:
    """Rows that are still to be divided and look the same (copies, near-duplicates) get one cluster.

    So no part that is carved out can repeat another. Where more than a tenth of the rows would end in one cluster
    (rows filled into one form), clusters stay as they are.
    """
    pool = places(examples, lambda example: example.part in (None, "train"))
    pooled = Subset(examples, pool) if len(pool) < len(examples) else examples
    keys, plain = _looked_at(pooled, own_fields(examples, fields))
    parent = array("q", range(len(pool)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    order = np.arange(len(pool))
    for kind in ("normalised", "cluster"):
        for first, others in _repeats(keys[kind], -order):
            for row in others:
                parent[root(row)] = root(first)
    for left, right, _ in _alike(plain, order):
        parent[root(left)] = root(right)
    roots = np.fromiter(map(root, range(len(pool))), dtype=np.int64, count=len(pool))
    sizes = np.bincount(roots, minlength=len(pool))
    if not len(pool) or sizes.max() > max(10, len(pool) // 10):
        return examples
    merged = [(row, pooled[row].cluster) for row in np.flatnonzero(sizes[roots] > 1).tolist()]
    name: dict[int, str] = {}  # the smallest of the merged clusters' names: the order of the rows plays no role
    for row, cluster in merged:
        top = int(roots[row])
        name[top] = min(name.get(top, cluster), cluster)
    given = {int(pool[row]): name[int(roots[row])] for row, cluster in merged if cluster != name[int(roots[row])]}
    return materialize(NumberedMap(examples, partial(_renamed, given=given))) if given else examples


def _renamed(row: int, example: Example, given: Mapping[int, str]) -> Example:
    return replace(example, cluster=given[row]) if row in given else example


def _repeats(keys: Int, rank: Int) -> Iterable[tuple[int, list[int]]]:
    """Groups of rows with one key: the one that stays (latest part, then first) and the others."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(keys[order]) != 0)) if len(keys) else order
    sizes = np.diff(np.append(starts, len(order)))
    groups = [order[start : start + size] for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True)]
    for members in sorted(groups, key=lambda members: int(members[0])):
        stays = int(members[np.argmax(rank[members])])  # the first of the highest
        yield stays, [row for row in members.tolist() if row != stays]


def _same_answer(one: Example, other: Example, names: Sequence[str]) -> bool:
    """The fields outside the comparison agree too: a repeated row, not another answer to the same question."""
    rest = {*one.fields, *other.fields} - {*names}
    return all(_flat(one.fields.get(name)) == _flat(other.fields.get(name)) for name in rest)


def _pair(kind: Kind, examples: Sequence[Example], rank: Int, row: int, other: int, similarity: float) -> LeakPair:
    example, twin = examples[row], examples[other]
    part, other_part = _ORDER[rank[row]], _ORDER[rank[other]]
    return LeakPair(kind, part, example.id, location(example), other_part, twin.id, location(twin), similarity)


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
) -> Sequence[Example]:
    rows, ids = array("q"), array("q")
    for row, example in enumerate(examples):
        if (part, example.id) not in gone and (part, location(example), example.id) not in doubles:
            rows.append(row)
            ids.append(hash(example.id))
    if not rows:
        return []
    first = np.sort(np.unique(np.array(ids, dtype=np.int64), return_index=True)[1])
    return examples if len(first) == len(examples) else picked(examples, np.array(rows, dtype=np.int64)[first])


def _text(example: Example, names: Sequence[str]) -> str:
    fields = dict(example.fields)  # read once
    return "\n".join(_flat(fields.get(name)) for name in names)


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return "" if value is None else str(value)


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def location(example: Example) -> str:
    """'path:line' as pairs name it; the id of a row that no file has."""
    return f"{example.path}:{example.line}" if example.path else example.id
