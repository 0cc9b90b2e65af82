"""A summary as plain rows: for frames, trackers, notebooks and model cards. Values are records' own, in their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from keeptune.core.records import Summary
from keeptune.report.arms import verdict_counts
from keeptune.report.formatting import (
    MISSING,
    change_interval,
    change_text,
    change_unit,
    interval_text,
    margin_text,
    metric_number,
    score_text,
)
from keeptune.report.page import fragment

Row = dict[str, Any]


def arm_rows(summary: Summary) -> list[Row]:
    """A row for every arm: scores are fractions (bits per byte: as they are), intervals 95 %."""
    return [
        {
            "arm": arm.name,
            "label": arm.label,
            "recipe": arm.arm,
            "lr": arm.lr,
            "seed": arm.seed,
            "shots": arm.shots,
            "metric": arm.target.metric,
            "score": arm.target.mean,
            "score_low": arm.target.interval.low,
            "score_high": arm.target.interval.high,
            "n": arm.target.n,
            "gain": arm.gain_mean,
            "gain_low": arm.gain.low if arm.gain else None,
            "gain_high": arm.gain.high if arm.gain else None,
            "verdicts": verdict_counts(arm),
            "recommended": arm.name == summary.recommendation.arm,
            "not_run": arm.not_run,
        }
        for arm in summary.arms
    ]


def suite_rows(summary: Summary) -> list[Row]:
    """A row for every arm and retained suite: its verdict, and the numbers behind it."""
    return [
        {
            "arm": arm.name,
            "suite": verdict.suite,
            "verdict": verdict.verdict,
            "metric": verdict.metric,
            "before": verdict.before,
            "after": verdict.after,
            "change": verdict.change,
            "change_low": verdict.interval.low if verdict.interval else None,
            "change_high": verdict.interval.high if verdict.interval else None,
            "margin": verdict.margin,
            "relative": verdict.relative,
            "n": verdict.n,
            "n_needed": verdict.n_needed,
            "sentence": verdict.sentence,
        }
        for arm in summary.arms
        for verdict in arm.suites
    ]


def shown_arms(summary: Summary) -> list[Row]:
    """A row for every arm as a reader wants it, points and intervals written out."""
    metric = summary.metric
    return [
        {
            "arm": f"{arm.label}{' (take)' if arm.name == summary.recommendation.arm else ''}",
            "target": MISSING if arm.not_run is not None else score_text(arm.target),
            "over the best prompting": MISSING
            if arm.gain_mean is None
            else f"{metric_number(arm.gain_mean, metric, signed=True)} "
            f"({interval_text(arm.gain, metric, signed=True)})",
            "retained suites": verdict_counts(arm) or MISSING,
        }
        for arm in summary.arms
    ]


def shown_suites(summary: Summary, arms: Sequence[str] | None = None) -> list[Row]:
    """A row for every verdict, in words and points; of some arms, by name, or of all."""
    return [
        {
            "arm": arm.label,
            "suite": verdict.suite,
            "verdict": verdict.verdict,
            "before": metric_number(verdict.before, verdict.metric),
            "after": metric_number(verdict.after, verdict.metric),
            "change": f"{change_text(verdict.change)} {change_unit(verdict)}",
            "95 % interval": change_interval(verdict.interval),
            "margin": margin_text(verdict),
            "n": f"{verdict.n:,}",
        }
        for arm in summary.arms
        if arms is None or arm.name in arms
        for verdict in arm.suites
    ]


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows of one shape as a table of Markdown; empty without rows."""
    if not rows:
        return ""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _cell(value: object) -> str:
    return str(MISSING if value is None else value).replace("|", "\\|").replace("\n", " ")


def html_tables(headline: str, paragraph: str, tables: Sequence[Sequence[Row]]) -> Markup:
    """Tables below a headline, to be put into another page: a notebook's."""
    return fragment(
        "fragment.html.j2", headline=headline, paragraph=paragraph, tables=[rows for rows in tables if rows]
    )


def html_summary(summary: Summary) -> Markup:
    """The recommendation, the arms and their verdicts, to be put into another page."""
    advice = summary.recommendation
    return html_tables(advice.headline, advice.paragraph, [shown_arms(summary), shown_suites(summary)])
