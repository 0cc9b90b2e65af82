"""What a data set should be looked at for: rows that a benchmark has as well, and hints of personal data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from keeptune.data.examples import Example, Splits
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.load import load_examples
from keeptune.data.splits.compared import location, own_fields
from keeptune.data.splits.leakage import LeakPair, find_leaks
from keeptune.data.storage.lazy import LazyMap, materialize
from keeptune.inspect.outliers import SHOWN

# A hint, not a proof: what looks like it is counted, and the first place is shown. Most texts hold none of the pieces
# of which a match needs one, and finding that out costs a twentieth of the search.
NEEDED = {"e-mail address": ("@",), "phone number": ("+", "(", "0", "-"), "key": ("-----BEGIN", "A", "_", "sk-")}
PERSONAL = {
    "e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b", re.IGNORECASE),
    "phone number": re.compile(
        r"(?<![\w.,-])(?:(?:\+\d{1,3}[ .-]?|\(\d{2,5}\) ?|0)\d{2,4}[ .-]\d{3,4}(?:[ .-]?\d{2,4}){0,2}"
        r"|\+\d{10,14}|0\d(?: \d\d){4}|\d{3}-\d{3}-\d{4})(?![\w.,-]?\d)"
    ),
    "key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[opsu]_[A-Za-z0-9]{36}\b|\bhf_[A-Za-z0-9]{30,}\b"
        r"|\bsk-[A-Za-z0-9_-]{32,}|\bgithub_pat_\w{20,}|\bAIza[\w-]{35}"
    ),
}


@dataclass(frozen=True, slots=True)
class Hint:
    """Rows whose text looks as if it held personal data of one kind. The data themselves are not repeated."""

    kind: str
    rows: int
    shown: tuple[Example, ...]  # the first


@dataclass(frozen=True, slots=True)
class Contamination:
    """Rows of the source that a benchmark has as well, alike in their prompts' own columns."""

    benchmark: str
    rows: int  # of the benchmark
    layout: ColumnSchema
    pairs: tuple[LeakPair, ...]
    shown: tuple[tuple[LeakPair, Example, Example], ...]  # the first: our row and the benchmark's


def hints(examples: Sequence[Example]) -> tuple[Hint, ...]:
    """Personal data by kind, where there are any."""
    count = dict.fromkeys(PERSONAL, 0)
    shown: dict[str, list[Example]] = {kind: [] for kind in PERSONAL}
    for example in examples:
        text = "\n".join(str(value) for value in example.fields.values() if value)
        for kind, pattern in PERSONAL.items():
            if any(piece in text for piece in NEEDED[kind]) and pattern.search(text):
                count[kind] += 1
                if len(shown[kind]) < SHOWN:
                    shown[kind].append(example)
    return tuple(Hint(kind, n, tuple(shown[kind])) for kind, n in count.items() if n)


def redacted(text: str) -> str:
    """The text with '[phone number]' where one seems to stand, and so on."""
    for kind, pattern in PERSONAL.items():
        text = pattern.sub(f"[{kind}]", text)
    return text


def contamination(examples: Sequence[Example], layout: ColumnSchema, benchmark: str) -> Contamination:
    """Compare rows with a benchmark's rows, whatever its columns are called.

    Raises:
        DataError: the benchmark cannot be read or recognised.
    """
    other = load_examples(benchmark)
    assert other.layout is not None  # without templates of the caller, no layout is an error
    ours, theirs = _prompts(examples, layout), _prompts(other.examples, other.layout)
    report = find_leaks(Splits(ours, [], theirs), ["text"])
    pairs = [pair for pair in (*report.exact, *report.normalised, *report.near) if pair.part == "train"]
    shown = quoted_pairs(pairs[:SHOWN], examples, other.examples)
    return Contamination(benchmark, len(theirs), other.layout, tuple(pairs), shown)


def quoted_pairs(
    pairs: Sequence[LeakPair], examples: Iterable[Example], others: Iterable[Example] | None = None
) -> tuple[tuple[LeakPair, Example, Example], ...]:
    """Pairs with their rows, which are looked up; ``others`` are the examples of the other side, if not the same."""
    here, there = {(pair.where, pair.id) for pair in pairs}, {(pair.other_where, pair.other_id) for pair in pairs}
    if others is None:
        ours = theirs = _at(examples, here | there)  # read once
    else:
        ours, theirs = _at(examples, here), _at(others, there)
    return tuple((pair, ours[pair.where, pair.id], theirs[pair.other_where, pair.other_id]) for pair in pairs)


def _at(examples: Iterable[Example], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Example]:
    """The examples with these places and ids; those that lie behind the last of them are not read."""
    found: dict[tuple[str, str], Example] = {}
    for example in examples if wanted else ():
        key = (location(example), example.id)
        if key in wanted:
            found[key] = example
            if len(found) == len(wanted):
                break
    return found


def _prompts(examples: Sequence[Example], layout: ColumnSchema) -> Sequence[Example]:
    """The rows with one field, the text of their prompts' own columns, each its own cluster."""
    names = own_fields(examples, layout.prompt_columns)

    def prompt(example: Example) -> Example:
        return replace(
            example,
            fields={"text": "\n".join(str(example.fields.get(name) or "") for name in names)},
            cluster=f"{example.path}:{example.line}:{example.id}",
            label=None,
        )

    return materialize(LazyMap(examples, prompt))
