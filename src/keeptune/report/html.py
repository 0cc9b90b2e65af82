"""Writes report.html: the records of a run as one self-contained page.

The page needs no network and carries a content security policy that forbids any (see `page`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.files import write_whole
from keeptune.core.records import Summary, read_json
from keeptune.report import arms, formatting
from keeptune.report.page import filled
from keeptune.report.sections import (
    costs,
    decision,
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
    trouble,
)

CONFIG_LENGTH = 20_000  # characters of the resolved configuration that the page shows

OPEN = 7  # sections below the verdict that are open; the rest is folded


@dataclass(frozen=True)
class Heading:
    """What a section is called above itself and in the contents."""

    title: str
    short: str


# id (and template) of every section below the verdict, in the order of the page: the sooner it is needed, the higher
SECTIONS = {
    "scores": Heading("Target score by arm", "Target score"),
    "retention": Heading("Gain against retention", "Gain against retention"),
    "suites": Heading("What was kept, suite by suite", "Suite by suite"),
    "trouble": Heading("What went wrong in training", "What went wrong"),
    "lost": Heading("What was lost, and where", "What was lost"),
    "undecided": Heading("What could not be told", "What could not be told"),
    "sequences": Heading("Tasks learned one after another", "Sequences"),
    "learning": Heading("How many examples are enough", "Learning curve"),
    "price": Heading("The price of keeping", "The price of keeping"),
    "wordings": Heading("Wordings that training saw, and others", "Wordings"),
    "heldout": Heading("Tasks that no arm was trained on", "Held-out tasks"),
    "tradeoffs": Heading("The trade-offs", "Trade-offs"),
    "matched": Heading("Arm against arm at equal target score", "At equal score"),
    "samples": Heading("Answers side by side", "Answers"),
    "costs": Heading("What it costs", "Costs"),
    "shots": Heading("What the shots cost", "Shots"),
    "doses": Heading("How much replay", "Replay"),
    "frontier": Heading("The frontier of every arm", "Frontier"),
    "drift": Heading("Drift: distance from the base model", "Drift"),
    "curves": Heading("Loss curves", "Loss curves"),
    "data": Heading("Data", "Data"),
    "reproduce": Heading("How to reproduce", "Reproduce"),
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
    paired = isinstance(first, scores.Scores) and not first.many and "retention" in present
    return filled(
        "page.html.j2",
        **content,
        summary=summary,
        views=views,
        plan=plan.plan(summary, views),
        version=summary.manifest.keeptune,
        decision=decision.decision(summary, views),
        sections={name: SECTIONS[name] for name in present},
        open=present[:OPEN],
        paired=("scores", "retention") if paired else (),
    )


def _content(summary: Summary, views: Sequence[arms.ArmView], run: Path) -> dict[str, object]:
    """What every section shows, by its id; a section with nothing to show is empty and left out."""
    metric = summary.metric
    return {
        "scores": scores.scores(views, metric),
        "retention": scores.retention_chart(summary, views),
        "suites": suites.suites(views, run),
        "trouble": trouble.trouble(views),
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
