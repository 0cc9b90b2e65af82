"""Rows that cannot be used: kept with the reason, counted, and too many of them are an error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keeptune.core.errors import DataError
from keeptune.core.files import whole
from keeptune.data.formats.recognise import MAP_COLUMNS

LARGEST_SHARE = 0.05  # above it, the data or their map are wrong rather than a few rows


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One row that was left out, and why."""

    path: str
    line: int
    reason: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def reasons(quarantined: Sequence[Quarantined]) -> list[tuple[str, int, Quarantined]]:
    """Reasons with their counts and first rows, most frequent first."""
    first: dict[str, Quarantined] = {}
    for row in quarantined:
        first.setdefault(row.reason, row)
    return [(reason, n, first[reason]) for reason, n in Counter(row.reason for row in quarantined).most_common()]


def refuse_many(
    quarantined: Sequence[Quarantined],
    rows: int,
    source: str,
    remedy: str | None = f"repair or remove these rows, or {MAP_COLUMNS}",
) -> None:
    """Nothing, as long as few rows are unusable.

    Raises:
        DataError: more than 5 % of the rows; names the commonest reason and where it first occurs.
    """
    if len(quarantined) <= LARGEST_SHARE * rows:
        return
    listed = reasons(quarantined)
    reason, count, first = listed[0]
    others = f", and {len(listed) - 1} other reasons" if len(listed) > 1 else ""
    raise DataError(
        f"{len(quarantined)} of {rows} rows cannot be used (more than {LARGEST_SHARE:.0%}); "
        f"{count} because: {reason} (first at line {first.line}){others}",
        path=first.path or source,
        line=first.line,
        remedy=remedy,
    )


def set_aside(quarantined: Sequence[Quarantined]) -> list[str]:
    """In words, how many rows were left out for which reason."""
    return [
        f"{n:,} rows were set aside: {reason} (first: {row.path}:{row.line})" for reason, n, row in reasons(quarantined)
    ]


def write_quarantine(path: Path, quarantined: Sequence[Quarantined]) -> None:
    """One JSON line per row: path, line, reason and the row itself. The file appears whole or not at all."""
    rows = ({"path": q.path, "line": q.line, "reason": q.reason, "row": dict(q.fields)} for q in quarantined)
    with whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, default=repr) + "\n" for row in rows)
