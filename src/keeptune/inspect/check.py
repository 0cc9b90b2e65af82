"""What is in a data set: counts, lengths, labels, copies, leaks, unusable rows. No torch; a tokenizer on request."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from keeptune.core.errors import DataError
from keeptune.core.findings import Bin, Lengths, PartCount
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.survey import Spelled, Survey, date_note, known_tokens, survey
from keeptune.data.examples import Example, Splits
from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.quarantine import Quarantined, reasons
from keeptune.data.formats.recognise import COMPLETION, ColumnSchema
from keeptune.data.load import Loaded, load_examples
from keeptune.data.rows import read_from
from keeptune.data.splits.copies import keep_together
from keeptune.data.splits.groups import hash_of, hashes_of
from keeptune.data.splits.leakage import LeakPair, LeakReport, find_leaks
from keeptune.data.splits.split import split
from keeptune.evaluate.task_templates import plain_templates
from keeptune.inspect.outliers import SHOWN, Outliers, outliers
from keeptune.inspect.quality import Contamination, Hint, contamination, hints, quoted_pairs

PARTS = ("train", "validation", "test")
BINS = 8


@dataclass(frozen=True, slots=True)
class Copies:
    """Rows that repeat others."""

    exact: int  # rows whose prompt and completion an earlier row has
    prompts: int  # rows whose prompt an earlier row has (case and white space aside), the completion being another
    repeats: tuple[tuple[Example, Example], ...] = ()  # the first of the former, each behind the row that it repeats
    conflicts: tuple[tuple[Example, Example], ...] = ()  # the first of the latter, likewise


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found, as data; `findings.check_page` puts it into words."""

    source: str
    sha256: str
    layout: ColumnSchema
    rows: int
    examples: int
    clusters: int
    most_references: int
    parts: tuple[PartCount, ...]
    lengths: tuple[Lengths, ...]
    labels: Mapping[str, Mapping[str, int]]  # label -> part -> examples, most frequent first
    copies: Copies
    leaks: LeakReport | None  # None: there is only one part
    leaking: tuple[tuple[LeakPair, Example, Example], ...]  # the first copies and the first near-duplicates
    quarantined: tuple[tuple[str, int, Quarantined], ...]  # reason, rows, first row
    notes: tuple[str, ...]
    hints: tuple[Hint, ...] = ()  # personal data
    contaminations: tuple[Contamination, ...] = ()  # one for each benchmark that was named
    alike: int = 0  # rows that look like an earlier one of the rows that are to be divided: they stay in one part
    outliers: tuple[Outliers, ...] = ()
    survey: Survey | None = None  # by the tokenizer of the model that was named
    ends: Spelled = field(default_factory=Spelled)  # answers that spell an end token, where no model was named


def check(
    source: str,
    *,
    fields: Mapping[str, str] | None = None,
    cluster: str | None = None,
    format: str | None = None,
    supervise: Supervise | None = None,
    against: Sequence[str] = (),
    encoder: Encoder | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Read a source and describe it; ``against`` names benchmarks whose rows it should not have.

    ``encoder`` is that of a model: its tokenizer and its chat template say which rows it cannot use. ``say`` is told
    what is being done.

    Raises:
        DataError: the source cannot be read, recognised or mostly used (see `load_examples`).
    """
    loaded = load_examples(
        source,
        fields=fields,
        cluster=cluster,
        format=format,
        supervise=supervise,
        progress=lambda rows: say(f"{rows:,} rows read"),
    )
    assert loaded.layout is not None  # without templates of the caller, no layout is an error
    say(f"dividing {len(loaded.examples):,} rows into parts")
    splits, carved, alike, notes = _parts(loaded)
    parts = {name: splits.part(name) for name in PARTS if splits.part(name)}
    say(f"comparing the parts of {len(loaded.examples):,} rows")
    leaks = find_leaks(splits, loaded.layout.prompt_columns or None) if len(parts) > 1 else None
    say(f"looking at {len(loaded.examples):,} rows")
    found = survey(encoder, plain_templates(loaded.layout).for_chat(encoder.chat), loaded.examples) if encoder else None
    ends, tokens = (Spelled(), Spelled()) if encoder else known_tokens(loaded.examples, loaded.layout)
    return CheckReport(
        source=source,
        sha256=loaded.sha256,
        layout=loaded.layout,
        rows=len(loaded.examples) + len(loaded.quarantined),
        examples=len(loaded.examples),
        clusters=_distinct(row.cluster for rows in parts.values() for row in rows),
        most_references=max(len(_references(example, loaded.layout)) for example in loaded.examples),
        parts=_counted(parts, carved),
        lengths=_lengths(loaded.examples, loaded.layout),
        labels=_labels(parts),
        copies=_copies(loaded.examples, loaded.layout),
        leaks=leaks,
        leaking=quoted_pairs([*leaks.copies[:SHOWN], *leaks.near[:SHOWN]], loaded.examples) if leaks else (),
        quarantined=tuple(reasons(loaded.quarantined)),
        notes=(*read_from(source), *loaded.notes, *notes, *_token_notes(found, encoder, tokens)),
        hints=hints(loaded.examples),
        contaminations=tuple(contamination(loaded.examples, loaded.layout, benchmark) for benchmark in against),
        alike=alike,
        outliers=_outliers(loaded.examples, loaded.layout),
        survey=found,
        ends=ends,
    )


def _counted(parts: Mapping[str, Sequence[Example]], carved: set[str]) -> tuple[PartCount, ...]:
    return tuple(
        PartCount(name, len(rows), _distinct(row.cluster for row in rows), name in carved)
        for name, rows in parts.items()
    )


def _outliers(examples: Sequence[Example], layout: ColumnSchema) -> tuple[Outliers, ...]:
    texts = (partial(text, layout=layout) for text in (prompt_text, answer_text, asked_about))
    return outliers(examples, *texts)


def _token_notes(found: Survey | None, encoder: Encoder | None, known: Spelled) -> tuple[str, ...]:
    """What the model's tokenizer makes of texts; without a model, what well-known ones would."""
    if found is not None and encoder is not None:
        dated = date_note(encoder.tokenizer) if encoder.chat else None
        return (*found.notes, *([dated] if dated else []))
    if not known.rows:
        return ()
    return (f"{known.rows:,} rows spell special tokens of some models as text ({known.named()}); see --model",)


def _parts(loaded: Loaded) -> tuple[Splits, set[str], int, tuple[str, ...]]:
    """The parts that training would use, which are carved out, rows that look like others, and what is missing."""
    named = {example.part for example in loaded.examples}
    try:
        columns = (loaded.layout.prompt_columns if loaded.layout else None) or None
        together = keep_together(loaded.examples, columns)
        alike = 0
        if together is not loaded.examples:
            alike = sum(one.cluster != other.cluster for one, other in zip(loaded.examples, together, strict=True))
        splits = split(together)
    except DataError as error:
        return Splits(loaded.examples, (), ()), set(), 0, (f"not split: {error.message}",)
    lacking = () if splits.train else ("no part is called train: nothing can be trained on these rows as they are",)
    return splits, {name for name in PARTS[1:] if name not in named}, alike, lacking


def prompt_text(example: Example, layout: ColumnSchema) -> str:
    """The row's own prompt columns, one per line, as the lengths count them."""
    return _lines(example, layout.prompt_columns)


def asked_about(example: Example, layout: ColumnSchema) -> str:
    """The prompt without its system text and its instruction; with them where a row has nothing else."""
    own = [column for role, column in layout.roles.items() if role not in ("system", "instruction", COMPLETION)]
    text = _lines(example, own)
    return text if text.strip() else prompt_text(example, layout)


def _lines(example: Example, columns: Iterable[str]) -> str:
    return "\n".join(str(example.fields[column]) for column in columns if example.fields.get(column))


def _references(example: Example, layout: ColumnSchema) -> Sequence[str]:
    value = example.fields[layout.completion]
    return [value] if isinstance(value, str) else list(value)


def answer_text(example: Example, layout: ColumnSchema) -> str:
    """The row's completion, the first where it has several."""
    return _references(example, layout)[0]


def _distinct(texts: Iterable[str]) -> int:
    return len(np.unique(hashes_of(texts)))


def _lengths(examples: Sequence[Example], layout: ColumnSchema) -> tuple[Lengths, ...]:
    """Lengths of prompts and completions, in words; in characters where 'words' have more than 15 on average."""
    sizes = array("q")
    for example in examples:
        for text in (prompt_text(example, layout), answer_text(example, layout)):
            sizes.extend((len(text.split()), len(text)))
    table = np.array(sizes, dtype=np.int64).reshape(-1, 2, 2)  # [rows, side, words and characters]
    return tuple(_measure(name, table[:, side]) for side, name in enumerate(("prompt", "completion")))


def _measure(name: str, sizes: NDArray[np.int64]) -> Lengths:
    words, characters = sizes.T
    unspaced = characters.sum() > 15 * words.sum()
    counts = np.sort(characters if unspaced else words)
    last = len(counts) - 1
    p95 = int(counts[round(0.95 * last)])
    return Lengths(
        name=name,
        unit="characters" if unspaced else "words",
        median=int(counts[last // 2]),
        p95=p95,
        longest=int(counts[-1]),
        bins=_bins(counts, p95),
    )


def _bins(counts: NDArray[np.int64], p95: int) -> tuple[Bin, ...]:
    """At most eight bins of one round width up to the 95th percentile, and one for the tail."""
    width = next(
        step * scale
        for scale in (1, 10, 100, 1_000, 10_000, 100_000, 10**9)
        for step in (1, 2, 5)
        if step * scale * (BINS - 1) > p95
    )
    in_bin = np.bincount(np.minimum(counts // width, BINS - 1))
    return tuple(
        Bin(i * width, (i + 1) * width if i < BINS - 1 else None, int(in_bin[i]))
        for i in range(int(np.flatnonzero(in_bin)[0]), len(in_bin))
    )


def _labels(parts: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, int]]:
    """Label -> part -> examples, the most frequent label first; empty where examples have no labels."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for name, rows in parts.items():
        for row in rows:
            if row.label is not None:
                table[row.label][name] += 1
    ranked = sorted(table, key=lambda label: (-table[label].total(), label))
    return {label: dict(table[label]) for label in ranked}


def _copies(examples: Sequence[Example], layout: ColumnSchema) -> Copies:
    """Rows that repeat others, judged on texts with their outer spaces removed."""
    prompts, answered, whole = array("q"), array("q"), array("q")  # hashes; that of an empty prompt is 0
    for example in examples:
        prompt = prompt_text(example, layout).strip()
        answer = "\0".join(_references(example, layout)).strip()
        loose = " ".join(prompt.lower().split())
        prompts.append(hash_of(loose))
        answered.append(hash((loose, answer)))
        whole.append(hash((prompt, answer)))
    (prompt_of, first_prompt), (_, first_answer), (_, first_whole) = map(_first, (prompts, answered, whole))
    rows = np.arange(len(prompts))
    repeats = np.flatnonzero(first_whole != rows)
    conflicts = np.flatnonzero((first_answer == rows) & (first_prompt != rows) & (prompt_of != 0))

    def shown(found: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[tuple[Example, Example], ...]:
        return tuple((examples[int(first[row])], examples[int(row)]) for row in found[:SHOWN])

    return Copies(len(repeats), len(conflicts), shown(repeats, first_whole), shown(conflicts, first_prompt))


def _first(hashes: array[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The hashes [N], and for every row the first row that has the same one [N]."""
    values = np.array(hashes, dtype=np.int64)
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return values, first[inverse]
