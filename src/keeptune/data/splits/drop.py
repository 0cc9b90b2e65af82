"""Leaks refused, or taken out: the parts without rows that another part repeats."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from keeptune.core.errors import DataError
from keeptune.data.examples import Example, Splits
from keeptune.data.splits.compared import location
from keeptune.data.splits.leakage import ORDER, LeakPair, LeakReport, find_leaks
from keeptune.data.storage.lazy import picked

MAX_NEAR_SHARE = 0.01  # of the test rows; above, the run is refused
_SHOWN = 5


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
    parts = {name: _kept(splits.part(name), name, gone, doubles) for name in ORDER}
    for name in ORDER:
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
