"""What is recommended, and what is said of the price of keeping, on constructed searches."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from tables import arm, gaps, seen, suite

from keeptune.core.records import ArmSummary, SearchPoint, SearchSummary, SuiteLoss
from keeptune.recommend import price
from keeptune.recommend.choose import recommend

KEPT, LOST = suite("category", "Retained", -0.002, -0.012), suite("category", "Harmed", -0.2, -0.22)
OPEN = suite("category", "Inconclusive", -0.01, -0.031)


def point(name: str, target: float, losses: dict[str, float], margin: float = 0.03, training: int = 1) -> SearchPoint:
    """A model whose losses (fractions) have no error; prose is relative, with a margin of 1 %."""
    suites = tuple(
        SuiteLoss(
            suite=suite, loss=loss, error=0.0, margin=0.01 if suite == "prose" else margin, relative=suite == "prose"
        )
        for suite, loss in losses.items()
    )
    worst = max((s.loss / s.margin for s in suites), default=0.0)
    return SearchPoint(name=name, arm=name, label=name, training=training, target=target, losses=suites, worst=worst)


def search(*points: SearchPoint, found: str | None = None, allowed: int = 12, trainings: int = 12) -> SearchSummary:
    return SearchSummary(
        allowed=allowed,
        trainings=trainings,
        tokens=3_200_000,
        spare=1.0,
        base=0.0,
        points=points,
        front=tuple(each.name for each in price.front(points)),
        found=found,
    )


FULL = point("full", 0.95, {"category": 0.31, "prose": 0.75}, training=0)
NEAR = point("near", 0.71, {"category": 0.041, "prose": 0.004})
GOOD = point("good", 0.62, {"category": 0.021, "prose": 0.008})
IDLE = point("idle", 0.01, {"category": 0.0, "prose": 0.0})


@dataclass(frozen=True)
class Case:
    name: str
    search: SearchSummary
    arms: list[ArmSummary]  # as tested: what was found stands among them
    taken: str | None
    says: tuple[str, ...]  # by the search
    paragraph: tuple[str, ...] = ()  # by the recommendation
    silent: tuple[str, ...] = ()  # by the search
    tiers: dict[str, int] = field(default_factory=dict)


PROMPT = arm("prompt-0shot", 0.2)
OFFER = "At a margin of 4.1 points on category (margin 3) you could have 71.0 (near)."

CASES = [
    Case(
        "found",
        search(FULL, NEAR, GOOD, IDLE, found="good"),
        [PROMPT, arm("full", 0.95, LOST), arm("good", 0.61, KEPT)],
        "good",
        (
            "The search found good: 62.0 on validation items, with every suite within its margin",
            "What binds is prose, which needs 0.8 of 1 %.",
            OFFER,
            "At a margin of 75.0 % on prose (margin 1) and 31.0 points on category (margin 3) you could have 95.0",
            "The search took 12 trainings, 3.2M tokens",
        ),
        (OFFER,),
    ),
    Case(
        "found, and open on test",
        search(FULL, GOOD, found="good"),
        [PROMPT, arm("good", 0.61, OPEN)],
        "good",
        ("The search found good",),
    ),
    Case(
        "found, and harmed on test",
        search(FULL, GOOD, found="good"),
        [PROMPT, arm("good", 0.61, LOST)],
        "prompt-0shot",
        ("The search found good",),
        ("good was chosen on validation items and harmed category (−20.0) on test items; prompting is what is left",),
        tiers={"good": 0},
    ),
    Case(
        "found, and beaten by prompting",
        search(FULL, GOOD, found="good"),
        [arm("prompt-4shot", 0.7), arm("good", 0.61, KEPT)],
        "prompt-4shot",
        ("The search found good",),
    ),
    Case(
        "found nothing, and something is near",
        search(FULL, NEAR, IDLE),
        [PROMPT, arm("full", 0.95, LOST)],
        "prompt-0shot",
        ("The search found no model that is shown to have learned something and keeps every suite.", OFFER),
        (OFFER,),
        silent=("75.0 %",),
    ),
    Case(
        "found nothing, and nothing learned",
        search(IDLE),
        [PROMPT, arm("full", 0.01, KEPT)],
        "prompt-0shot",
        ("The search found no model",),
        silent=("you could have",),
    ),
    Case(
        "budget too small",
        search(FULL, trainings=1),
        [PROMPT, arm("full", 0.95, LOST)],
        "prompt-0shot",
        ("The search took 1 training of 12 that were allowed", "you could have 95.0 (full)"),
    ),
    Case(
        "hardly any margin",
        search(point("close", 0.7, {"category": 0.0004}, margin=0.0001), IDLE),
        [PROMPT, arm("full", 0.95, LOST)],
        "prompt-0shot",
        ("At a margin of 0.1 points on category (margin 0.01) you could have 70.0",),
    ),
    Case(
        "suites at chance",
        search(trainings=0),
        [PROMPT, arm("full", 0.95, suite("category", "Not measurable"))],
        "full",
        ("Nothing was searched: no retained suite can be measured",),
        silent=("you could have", "The search found"),
    ),
    Case(
        "what was found is the best of all",
        search(GOOD, IDLE, found="good"),
        [PROMPT, arm("good", 0.61, KEPT)],
        "good",
        ("The search found good",),
        silent=("you could have",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    said = " ".join(price.words(case.search))
    for words in case.says:
        assert words in said
    for words in case.silent:
        assert words not in said
    offer = next(iter(price.offers(case.search)), "")
    found = recommend(
        case.arms, gaps(case.arms), seen(case.arms, **case.tiers), indifference=0.01, requests=1000, price=offer
    )
    assert found.arm == case.taken
    for words in (*case.paragraph, offer):
        assert words in found.paragraph


def test_the_front_rises_and_leaves_out_what_diverged() -> None:
    burst = point("burst", 0.99, {"category": 0.0, "prose": 0.0}).model_copy(update={"diverged": True})
    worse = point("worse", 0.5, {"category": 0.029, "prose": 0.0})
    assert [each.name for each in price.front([FULL, burst, worse, GOOD, IDLE, NEAR])] == [
        "idle",
        "good",
        "near",
        "full",
    ]
