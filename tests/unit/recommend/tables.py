"""Score tables by hand: arms, suites and paired differences with chosen numbers."""

from __future__ import annotations

from keeptune.core.records import ArmSummary, Costs, Interval, Matched, Score, SuiteVerdict, Verdict
from keeptune.recommend.advice import Difference
from keeptune.recommend.choose import Validation


def suite(name: str, verdict: Verdict, change: float = 0.0, bound: float = -0.01, clusters: int = 1500) -> SuiteVerdict:
    """A verdict whose change and one-sided lower bound are given; under 30 clusters nothing can be decided."""
    return SuiteVerdict(
        suite=name,
        metric="accuracy",
        verdict=verdict,
        sentence="",
        n=1500,
        clusters=clusters,
        before=0.8,
        after=0.8 + change,
        chance=0.25,
        change=change,
        interval=Interval(low=change - 0.01, high=change + 0.01),
        lower_bound=bound,
        margin=0.02,
        p=0.5,
        p_holm=0.5,
        gained=1,
        lost=1,
        flips=0.1,
        smallest_decidable=0.02 if clusters >= 30 else None,
        n_needed=2900 if verdict == "Inconclusive" else None,
    )


def arm(
    name: str,
    mean: float,
    *suites: SuiteVerdict,
    tokens: float | None = 50.0,
    trained: int = 0,
    seeds: tuple[float, ...] = (),
    spread: float = 0.02,
    not_run: str | None = None,
) -> ArmSummary:
    """A row. Names that begin with "prompt" are prompting; a trained token costs 2 to 3 forward tokens."""
    family = "prompt" if name.startswith("prompt") else name
    return ArmSummary(
        name=name,
        label=name,
        family=family,
        target=Score(
            metric="accuracy", mean=mean, interval=Interval(low=mean - spread, high=mean + spread), n=500, clusters=500
        ),
        suites=suites,
        costs=Costs(
            tokens_per_request=tokens,
            train_tokens=trained,
            total_parameters=100,
            trainable_parameters=100 if family == "full" else 1,
        ),
        seed_scores=seeds,
        not_run=not_run,
    )


def gaps(arms: list[ArmSummary], error: float = 0.02) -> Difference:
    """Paired differences of the means, each plus or minus `error`; an arm that was not run has none."""
    means = {a.name: a.target.mean for a in arms if not a.not_run}

    def difference(a: str, b: str) -> tuple[float, Interval]:
        gap = means[a] - means[b]
        return gap, Interval(low=gap - error, high=gap + error)

    return difference


TIERS = {"Retained": 0, "Worse": 1, "Inconclusive": 1, "Not measurable": 0, "Harmed": 2}


def seen(arms: list[ArmSummary], error: float = 0.02, **tiers: int) -> Validation:
    """Validation items that say what the test items say; `tiers` names what they say otherwise."""
    ran = [a for a in arms if not a.not_run]
    return Validation(
        scores={a.name: a.target.mean for a in ran},
        tiers={a.name: max((TIERS[s.verdict] for s in a.suites), default=0) for a in ran} | tiers,
        difference=gaps(arms, error),
    )


def at_equal_score(a: str, b: str, sentence: str, level: float | None = 0.8) -> Matched:
    """A comparison at equal target score."""
    return Matched(arms=(a, b), labels=(a, b), level=level, comparable=level is not None, sentence=sentence)
