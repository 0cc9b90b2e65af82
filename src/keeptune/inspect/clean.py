"""A copy of a data set without rows that repeat others or cannot be used, and a list of what went and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.files import whole
from keeptune.data.examples import Example, Splits
from keeptune.data.load import load_examples
from keeptune.data.rows import read_rows, source_files
from keeptune.data.splits.leakage import find_leaks
from keeptune.data.storage.lazy import picked, places


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was written, and how many rows went for which reason."""

    kept: int
    removed: Mapping[str, int]
    out: Path
    listed: Path


def clean(source: str, out: Path, *, fields: Mapping[str, str] | None = None, cluster: str | None = None) -> Cleaned:
    """Write the rows that stay to ``out`` and the others, each with its reason, beside it. The source is only read.

    What goes: rows that cannot be used; rows that repeat another of their part, prompt and answer, but for case,
    punctuation and white space; rows whose prompt, or one much like it, a later part has (test rows always stay).
    Of a source without parts only repeated rows go.

    Raises:
        ConfigError: ``out`` is no .jsonl file, or exists already.
        DataError: the source cannot be read (see `load_examples`), or its rows hold several examples each.
    """
    listed = out.with_name(f"{out.stem}.removed.jsonl")
    if out.suffix != ".jsonl":
        raise ConfigError(f"'{out}' does not end in .jsonl", remedy="cleaned rows are written as JSON Lines")
    for path in (out, listed):
        if path.exists() or path.resolve() in [file.resolve() for file in source_files(source)]:
            raise ConfigError(f"'{path}' exists already", remedy="name a file that does not exist yet")
    reasons = _reasons(source, fields, cluster)
    removed: Counter[str] = Counter()
    kept = 0
    with (
        whole(out) as out_partial,
        whole(listed) as listed_partial,
        out_partial.open("w", encoding="utf-8") as stay,
        listed_partial.open("w", encoding="utf-8") as go,
    ):
        for row in read_rows(source):
            why = reasons.get((row.path, row.line))
            content = dict(row.fields) if row.part is None else {**row.fields, "split": row.part}
            if why is None:
                kept += 1
                stay.write(_line(content))
            else:
                removed[why[0]] += 1
                go.write(_line({"path": row.path, "line": row.line, "reason": why[0], "of": why[1], "row": content}))
    return Cleaned(kept, dict(removed.most_common()), out, listed)


def _reasons(
    source: str, fields: Mapping[str, str] | None, cluster: str | None
) -> dict[tuple[str, int], tuple[str, str | None]]:
    """Path and line -> why the row goes, and the row that it repeats."""
    loaded = load_examples(source, fields=fields, cluster=cluster)
    assert loaded.layout is not None  # without templates of the caller, no layout is an error
    if loaded.layout.name == "natural-instructions":
        raise DataError(
            "a row holds several examples, so no example can be left out alone",
            path=source,
            remedy="write every instance as a row of its own: instruction, input, output",
        )
    train, validation, test = (_in_part(loaded.examples, part) for part in ("train", "validation", "test"))
    report = find_leaks(Splits(train, validation, test), loaded.layout.prompt_columns)
    found: dict[tuple[str, int], tuple[str, str | None]] = {
        (row.path, row.line): (f"unusable: {row.reason}", None) for row in loaded.quarantined
    }
    for pair in report.duplicates:
        found[_place(pair.where)] = (f"repeats a row of {pair.part} ({pair.kind})", pair.other_where)
    for pair in (*report.exact, *report.normalised, *report.near, *report.cluster):
        found[_place(pair.where)] = (f"{pair.part} row is in {pair.other_part} ({pair.kind})", pair.other_where)
    return found


def _in_part(examples: Sequence[Example], part: str) -> Sequence[Example]:
    """The rows that the source puts into a part; rows without a part belong to train."""
    return picked(examples, places(examples, lambda row: (row.part or "train") == part))


def _place(where: str) -> tuple[str, int]:
    path, _, line = where.rpartition(":")
    return path, int(line)


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, default=str) + "\n"
