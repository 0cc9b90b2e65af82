"""Writes report.html: the records of a run as one self-contained page.

The page needs no network and carries a content security policy that forbids any (see `page`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from keeptune.core.files import write_whole
from keeptune.core.records import Summary, read_json
from keeptune.report import arms, formatting
from keeptune.report.page import filled
from keeptune.report.sections import (
    costs,
    doses,
    equal_score,
    frontier,
    learning,
    losses,
    lost,
    plan,
    price,
    samples,
    scores,
    sequences,
    suites,
    transfer,
)

CONFIG_LENGTH = 20_000  # characters of the resolved configuration that the page shows

# id (and template) of every section below the verdict, in the order of the page, and its name in the contents
SECTIONS = {
    "scores": "Target score",
    "retention": "Gain against retention",
    "suites": "Suite by suite",
    "lost": "What was lost",
    "drift": "Drift",
    "matched": "At equal score",
    "tradeoffs": "Trade-offs",
    "costs": "Costs",
    "shots": "Shots",
    "price": "The price of keeping",
    "frontier": "Frontier",
    "doses": "Replay",
    "learning": "Learning curve",
    "wordings": "Wordings",
    "heldout": "Held-out tasks",
    "sequences": "Sequences",
    "curves": "Loss curves",
    "samples": "Answers",
    "undecided": "What could not be told",
    "data": "Data",
    "reproduce": "Reproduce",
}


def write_report(run: Path) -> Path:
    """Read the records of a run and write run/report.html.

    Returns:
        The path of the page, at most 3 MB.

    Raises:
        DataError: run/summary.json is missing or is not a Summary.
    """
    page = render(read_json(run / "summary.json", Summary), run)
    path = run / "report.html"
    write_whole(path, page)
    return path


def render(summary: Summary, run: Path) -> str:
    """The page as text; `run` is only read for the curves and to see which record files exist."""
    views = arms.arm_views(summary, run)
    content = _content(summary, views, run)
    present = [name for name in SECTIONS if content[name]]
    first = content["scores"]
    return filled(
        "page.html.j2",
        **content,
        summary=summary,
        views=views,
        plan=plan.plan(summary, views),
        version=summary.manifest.keeptune,
        contents=[(name, SECTIONS[name]) for name in present],
        paired=isinstance(first, scores.Scores) and not first.many and "retention" in present,
    )


def _content(summary: Summary, views: Sequence[arms.ArmView], run: Path) -> dict[str, object]:
    """What every section shows, by its id; a section with nothing to show is empty and left out."""
    metric = summary.metric
    return {
        "scores": scores.scores(views, metric),
        "retention": scores.retention_chart(summary, views),
        "suites": suites.suites(views, run),
        "lost": lost.lost(views),
        "drift": suites.drifts(views),
        "matched": equal_score.matched(summary),
        "tradeoffs": costs.tradeoffs(views, metric),
        "costs": costs.cost_columns(views),
        "shots": costs.shots(views, metric),
        "price": price.price(summary),
        "frontier": frontier.frontier(summary, views),
        "doses": doses.doses(views, metric),
        "learning": learning.learning(summary),
        "wordings": transfer.wordings(summary, views),
        "heldout": transfer.held_out(summary, views),
        "sequences": sequences.sequences(summary),
        "curves": losses.curves(views, run),
        "samples": samples.samples(summary, views),
        "undecided": True,  # says so where nothing is open
        "data": summary.cards,
        "reproduce": formatting.clip(
            json.dumps(summary.manifest.config, indent=2, ensure_ascii=False) or "{}", CONFIG_LENGTH
        ),
    }
