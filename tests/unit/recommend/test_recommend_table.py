"""The recommendation on constructed score tables: who is taken, and the words that decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tables import arm, at_equal_score, gaps, seen, suite

from keeptune.core.records import ArmSummary
from keeptune.recommend.choose import recommend

KEPT = suite("sums", "Retained", -0.002, -0.012)
LOST = suite("sums", "Harmed", -0.2, -0.22)
OPEN = suite("sums", "Inconclusive", -0.01, -0.031)


@dataclass(frozen=True)
class Row:
    name: str
    arms: list[ArmSummary]
    taken: str | None
    headline: str
    words: tuple[str, ...]
    absent: tuple[str, ...] = ()
    runner_up: str | None = None
    provisional: bool = False
    error: float = 0.02  # half width of every paired difference
    options: dict[str, Any] = field(default_factory=dict)
    tiers: dict[str, int] = field(default_factory=dict)  # of arms that validation sees otherwise than the test


TABLE = [
    Row(
        "clear winner",
        [arm("prompt-4shot", 0.4, tokens=240), arm("full", 0.6, KEPT), arm("lora", 0.8, KEPT, trained=1000)],
        "lora",
        "Take lora",
        ("Retained suites: 1 Retained.", "Runner-up: full (−20.0 points, 95 % −22.0 to −18.0)"),
        absent=("Could not be told", "What binds", "What decides"),
        runner_up="full",
    ),
    Row(
        "tie: the cheaper one",
        [arm("prompt-0shot", 0.4), arm("full", 0.801, KEPT, trained=2000), arm("lora", 0.8, KEPT, trained=1000)],
        "lora",
        "Take lora",
        (
            "What decides is cost: full scored best on validation items, but this one is not inferior to it by 1.0",
            "never the cheaper",
        ),
        runner_up="full",
        error=0.005,
    ),
    Row(
        "equal in score and cost",
        [arm("lora", 0.8, KEPT), arm("full", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("Runner-up: full (+0.0 points, 95 % −0.5 to +0.5, not shown to differ)",),
        runner_up="full",
        error=0.005,
    ),
    Row(
        "nothing feasible",
        [arm("full", 0.9, LOST), arm("lora", 0.8, suite("sums", "Harmed", -0.05, -0.07))],
        None,
        "No arm is feasible: every one lost too much.",
        (
            "What binds is retention: full harmed sums (−20.0).",
            "lora would be admitted at a common margin above 7.0 points and then be taken.",
        ),
    ),
    Row(
        "too few items for the margin",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, OPEN)],
        "lora",
        "Provisional: take lora",
        (
            "what would settle them: sums (2.9k items). Should one turn out Harmed, take prompt-0shot.",
            "At a common margin above 3.1 points lora would count as Retained.",
        ),
        runner_up="prompt-0shot",
        provisional=True,
    ),
    Row(
        "too few clusters for any margin",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, suite("sums", "Inconclusive", -0.01, -0.031, clusters=12))],
        "lora",
        "Provisional",
        ("what would settle them: sums (2.9k items)",),
        absent=("common margin",),
        runner_up="prompt-0shot",
        provisional=True,
    ),
    Row(
        "too few target items",
        [arm("prompt-0shot", 0.5), arm("lora", 0.6, KEPT, spread=0.2)],
        None,
        "Take none of these: no arm that keeps the retained suites is shown to beat guessing.",
        ("The best that keeps the retained suites, lora, scores 60.0", "(95 % 40.0 to 80.0); guessing scores 50.0"),
        runner_up="lora",
        options={"chance": 0.5},
    ),
    Row(
        "base at chance on a retained suite",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, KEPT, suite("stories", "Not measurable"))],
        "lora",
        "Provisional: take lora",
        (
            "1 Retained, 1 Not measurable",
            "It rests on suites where a loss could not be seen: stories.",
            "Could not be told: whether stories got worse (too little is there to be lost).",
        ),
        runner_up="prompt-0shot",
        provisional=True,
    ),
    Row(
        "nothing can be measured",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, suite("stories", "Not measurable"))],
        "lora",
        "Provisional: take lora",
        ("It rests on suites where a loss could not be seen: stories.",),
        runner_up="prompt-0shot",
        provisional=True,
    ),
    Row(
        "a loss that may lie within the margin",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, suite("sums", "Worse", -0.015, -0.025))],
        "lora",
        "Provisional: take lora",
        ("Retained suites: 1 Worse.", "It rests on suites that are not settled"),
        runner_up="prompt-0shot",
        provisional=True,
    ),
    Row(
        "kept on validation, Harmed on test: no second look",
        [arm("prompt-0shot", 0.3), arm("full", 0.9, LOST), arm("lora", 0.8, KEPT)],
        "prompt-0shot",
        "Take prompt-0shot.",
        (
            "full was chosen on validation items and harmed sums (−20.0) on test items; prompting is what is left,"
            " because a second arm would be chosen by its test scores.",
        ),
        runner_up="lora",
        tiers={"full": 0, "lora": 0},
    ),
    Row(
        "may have kept on validation, Retained on test: firm",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("Retained suites: 1 Retained.",),
        runner_up="prompt-0shot",
        tiers={"lora": 1},
    ),
    Row(
        "lost on validation: not taken, whatever the test says",
        [arm("prompt-0shot", 0.3), arm("full", 0.9, KEPT), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("Retained suites: 1 Retained.",),
        runner_up="prompt-0shot",
        tiers={"full": 2},
    ),
    Row(
        "everyone guesses",
        [arm("prompt-0shot", 0.49), arm("lora", 0.51, KEPT)],
        None,
        "Take none of these",
        ("guessing scores 50.0",),
        runner_up="lora",
        options={"chance": 0.5},
        error=0.005,
    ),
    Row(
        "forgetting declared harmless",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8)],
        "lora",
        "Take lora",
        ("Forgetting was declared harmless, so it was not measured and does not count.",),
        absent=("No retained suite was given", "margin"),
        runner_up="prompt-0shot",
        options={"forgetting_matters": False},
    ),
    Row(
        "declared harmless, suites all the same",
        [arm("prompt-0shot", 0.3), arm("full", 0.9, LOST), arm("lora", 0.8, KEPT)],
        "full",
        "Take full",
        ("declared harmless",),
        absent=("What binds", "margin", "Harmed"),
        runner_up="lora",
        options={"forgetting_matters": False},
    ),
    Row(
        "nothing asked about forgetting",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8)],
        "lora",
        "Take lora",
        ("No retained suite was given, so what it forgot was not measured.",),
        absent=("harmless",),
        runner_up="prompt-0shot",
    ),
    Row(
        "harmless, and still no better than guessing",
        [arm("prompt-0shot", 0.5), arm("lora", 0.51)],
        None,
        "Take none of these: no arm is shown to beat guessing.",
        ("Forgetting was declared harmless",),
        runner_up="lora",
        options={"forgetting_matters": False, "chance": 0.5},
        error=0.005,
    ),
    Row(
        "retention binds",
        [arm("prompt-0shot", 0.3), arm("full", 0.9, LOST), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        (
            "What binds is retention: full scores +10.0 points against this choice (95 % +8.0 to +12.0)",
            "but harmed sums (−20.0).",
            "full would be admitted at a common margin above 22.0 points and then be taken.",
            "lora itself would fall out at a common margin of 1.2 points or less (sums).",
        ),
        runner_up="prompt-0shot",
    ),
    Row(
        "the better arm would come in and not be taken",
        [arm("full", 0.803, LOST, trained=9000), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        (
            "full would be admitted at a common margin above 22.0 points.",
            "There is no runner-up: every other arm lost too much.",
        ),
        absent=("and then be taken",),
        error=0.005,
    ),
    Row(
        "of two harmed arms the lesser loss sets the margin",
        [
            arm("full", 0.9, suite("sums", "Harmed", -0.2, -0.225)),
            arm("ia3", 0.85, KEPT, suite("words", "Harmed", -0.04, -0.0512)),
            arm("lora", 0.8, KEPT),
        ],
        "lora",
        "Take lora",
        ("What binds is retention: full", "ia3 would be admitted at a common margin above 5.2 points"),
    ),
    Row(
        "no margin admits an arm with a suite of few clusters",
        [arm("full", 0.9, LOST, suite("few", "Inconclusive", 0, -0.1, clusters=9)), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("No margin would admit full: a suite has too few clusters for a verdict.",),
        absent=("would be admitted",),
    ),
    Row(
        "frontiers that do not overlap",
        [arm("full", 0.7, KEPT), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("lora and full are not comparable at equal target score: full reaches 20.0 at most (seed 1).",),
        runner_up="full",
        options={
            "matched": [
                at_equal_score(
                    "lora",
                    "full",
                    "lora and full are not comparable at equal target score: full reaches 20.0 at most (seed 1)",
                    level=None,
                )
            ]
        },
    ),
    Row(
        "of several comparisons that of choice and runner-up, at the highest level",
        [arm("prompt-0shot", 0.2), arm("full", 0.7, KEPT), arm("lora", 0.8, KEPT), arm("ia3", 0.6, KEPT)],
        "lora",
        "Take lora",
        ("At 80.0 points lora lost less than full.",),
        absent=("ia3 lost", "At 40.0"),
        runner_up="full",
        options={
            "matched": [
                at_equal_score("lora", "ia3", "At 90.0 points ia3 lost less", 0.9),
                at_equal_score("full", "lora", "At 40.0 points lora lost less than full", 0.4),
                at_equal_score("full", "lora", "At 80.0 points lora lost less than full", 0.8),
            ]
        },
    ),
    Row(
        "prompting wins on cost below n requests",
        [arm("prompt-4shot", 0.8, tokens=250), arm("lora", 0.801, KEPT, trained=10_000)],
        "prompt-4shot",
        "Take prompt-4shot.",
        (
            "What decides is cost: lora scored best on validation items, but this one is not inferior to it",
            "costs less over 100 requests",
            "in tokens it is the cheaper one above 100 requests and would then be taken",
        ),
        runner_up="lora",
        error=0.005,
        options={"requests": 100},
    ),
    Row(
        "training pays off above n requests",
        [arm("prompt-4shot", 0.8, tokens=250), arm("lora", 0.801, KEPT, trained=10_000)],
        "lora",
        "Take lora",
        ("Runner-up: prompt-4shot", "the cheaper one below 101 requests and would then be taken"),
        runner_up="prompt-4shot",
        error=0.005,
        options={"requests": 101},
    ),
    Row(
        "cheaper prompting that scores too low",
        [arm("prompt-4shot", 0.3, tokens=250), arm("full", 0.78, KEPT), arm("lora", 0.8, KEPT, trained=10_000)],
        "lora",
        "Take lora",
        (
            "Runner-up: full (−2.0 points, 95 % −2.5 to −1.5); in tokens it is the cheaper one at any number of",
            "requests, but it is not shown to score within 1.0 points.",
            "In tokens the best prompting, prompt-4shot, is the cheaper one below 101 requests.",
        ),
        runner_up="full",
        error=0.005,
    ),
    Row(
        "costs unknown",
        [arm("prompt-0shot", 0.3, tokens=None), arm("lora", 0.8, KEPT, tokens=None)],
        "lora",
        "Take lora",
        ("Runner-up: prompt-0shot (−50.0 points, 95 % −52.0 to −48.0).",),
        absent=("in tokens", "In tokens"),
        runner_up="prompt-0shot",
    ),
    Row(
        "provisional: of several undecided arms the cheapest good one",
        [
            arm("prompt-0shot", 0.3),
            arm("full", 0.802, OPEN, trained=5000),
            arm("lora", 0.8, OPEN, trained=1000),
            arm("ia3", 0.5, OPEN),
        ],
        "lora",
        "Provisional: take lora",
        ("Could not be told: whether full keeps sums; whether ia3 keeps sums.", "Runner-up: prompt-0shot"),
        runner_up="prompt-0shot",
        provisional=True,
        error=0.005,
    ),
    Row(
        "a small undecided gain displaces nothing",
        [arm("prompt-0shot", 0.79), arm("lora", 0.8, OPEN)],
        "prompt-0shot",
        "Take prompt-0shot.",
        ("Prompting changes no weight", "Could not be told: whether lora keeps sums.", "Runner-up: lora (+1.0 points"),
        runner_up="lora",
    ),
    Row(
        "a shown gain within the indifference displaces nothing",
        [arm("prompt-0shot", 0.795), arm("lora", 0.8, OPEN)],
        "prompt-0shot",
        "Take prompt-0shot.",
        ("Runner-up: lora (+0.5 points, 95 % +0.2 to +0.8)",),
        runner_up="lora",
        error=0.003,
    ),
    Row(
        "at the margin that admits the best another arm is admitted and taken",
        [arm("full", 0.806, LOST, trained=9000), arm("ia3", 0.805, OPEN), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("full would be admitted at a common margin above 22.0 points.",),
        runner_up="ia3",
        error=0.005,
    ),
    Row(
        "no prompting arm",
        [arm("full", 0.7, KEPT), arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("Could not be told: whether prompting would do (no prompting arm was run).",),
        runner_up="full",
    ),
    Row(
        "single arm",
        [arm("lora", 0.8, KEPT)],
        "lora",
        "Take lora",
        ("It is the only arm that ran, so there was nothing to choose between.", "One seed was run"),
        absent=("Runner-up", "runner-up"),
    ),
    Row(
        "an arm that was not run",
        [arm("prompt-0shot", 0.3), arm("lora", 0.8, KEPT), arm("full", 0.0, not_run="needs 18 GB")],
        "lora",
        "Take lora",
        ("Not run, so not judged: full (needs 18 GB).",),
        runner_up="prompt-0shot",
    ),
    Row(
        "no arm was run",
        [arm("full", 0.0, not_run="needs 18 GB"), arm("lora", 0.0, not_run="needs 12 GB")],
        None,
        "No arm is feasible: none was run.",
        ("Not run, so not judged: full (needs 18 GB), lora (needs 12 GB).",),
    ),
    Row(
        "prompting is best and cheapest",
        [arm("prompt-0shot", 0.8, tokens=30), arm("lora", 0.6, KEPT, tokens=30, trained=100)],
        "prompt-0shot",
        "Take prompt-0shot.",
        ("Prompting changes no weight, so nothing can be forgotten.", "never the cheaper one."),
        absent=("seed",),
        runner_up="lora",
    ),
    Row(
        "methods over seeds, one of them cut short by the budget",
        [arm("full", 0.7, KEPT, seeds=(0.7, 0.71, 0.72)), arm("lora", 0.8, KEPT, seeds=(0.8, 0.82, 0.84, 0.9))],
        "lora",
        "Take lora",
        ("Over 3 seeds lora scores +11.0 points against full (95 % +8.5 to +13.5, by seed).",),
        runner_up="full",
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_recommendation(row: Row) -> None:
    options = {"indifference": 0.01, "requests": 1000} | row.options
    validation = seen(row.arms, row.error, **row.tiers)
    found = recommend(row.arms, gaps(row.arms, row.error), validation, **options)
    assert (found.arm, found.provisional) == (row.taken, row.provisional)
    assert found.headline.startswith(row.headline)
    for words in row.words:
        assert words in found.paragraph
    for words in row.absent:
        assert words not in found.paragraph
    assert found.runner_up == row.runner_up
    assert found.binding is None or found.binding in found.paragraph


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE) >= 18
