"""Arm against arm at equal target score, in sentences."""

from __future__ import annotations

from dataclasses import dataclass

from keeptune.core.records import Matched, Summary
from keeptune.report.formatting import known, margins_text, metric_number


@dataclass(frozen=True)
class MatchedRow:
    """One pair of arms."""

    matched: Matched
    number: str  # difference with its interval; empty where not comparable
    level: str  # "at 41.2"
    by_seed: str


def matched(summary: Summary) -> tuple[MatchedRow, ...]:
    """Comparable pairs first, in the order of the summary otherwise."""
    ordered = sorted(summary.matched, key=lambda pair: not pair.comparable)
    return tuple(_row(pair, summary.metric) for pair in ordered)


def _row(pair: Matched, metric: str) -> MatchedRow:
    number = ""
    if pair.comparable and known(pair.mean):
        ends = pair.interval and f" ({margins_text(pair.interval.low)} to {margins_text(pair.interval.high)})"
        number = margins_text(pair.mean) + (ends or "")
    level = metric_number(pair.level, metric) if pair.comparable and known(pair.level) else ""
    seeds = ", ".join(margins_text(value) for value in pair.differences) if len(pair.differences) > 1 else ""
    return MatchedRow(pair, number, level, seeds)
