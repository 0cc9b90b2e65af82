from __future__ import annotations

import pytest

from keeptune.compare.gate import exit_code, gate
from keeptune.core.records import Interval, SuiteVerdict, Verdict


def verdict(name: str, state: Verdict) -> SuiteVerdict:
    return SuiteVerdict(
        suite=name,
        metric="accuracy",
        verdict=state,
        sentence=f"about {name}",
        n=100,
        clusters=100,
        before=0.8,
        after=0.8,
        chance=0.25,
        change=0.0,
        interval=None,
        lower_bound=None,
        margin=0.02,
        p=None,
        p_holm=None,
        gained=None,
        lost=None,
        flips=None,
        smallest_decidable=None,
        n_needed=None,
    )


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["Retained", "Retained"], 0),
        (["Retained", "Harmed", "Inconclusive"], 10),
        (["Retained", "Inconclusive"], 11),
        (["Retained", "Not measurable"], 11),
        ([], 11),
    ],
)
def test_exit_code(states: list[Verdict], code: int) -> None:
    assert exit_code(verdict(str(i), state) for i, state in enumerate(states)) == code


def test_harm_names_the_suites_and_recommends_nothing() -> None:
    decision = gate("after", [verdict("a", "Retained"), verdict("b", "Harmed"), verdict("c", "Inconclusive")])
    assert decision.arm is None
    assert decision.headline == "Do not ship: b harmed."
    assert decision.paragraph == "1 of 3 suites Retained. About b. About c."
    assert not decision.provisional


def test_undecided_recommends_nothing() -> None:
    decision = gate("after", [verdict(name, "Inconclusive") for name in "abcdef"])
    assert (decision.arm, decision.provisional) == (None, False)
    assert decision.headline == "Undecided: a, b, c, d and 2 more."


def test_all_retained() -> None:
    decision = gate("after", [verdict("a", "Retained")])
    assert (decision.arm, decision.provisional, decision.binding) == ("after", False, None)
    assert decision.headline.startswith("Nothing beyond 2 pt was lost")


@pytest.mark.parametrize(
    ("change", "low", "high", "said"),
    [
        (-0.04, -0.07, -0.01, "; the target score fell: −4.0 (−7.0 to −1.0)."),
        (-0.01, -0.03, 0.01, "; the target score did not rise: −1.0 (−3.0 to +1.0)."),
        (0.01, -0.01, 0.03, None),
    ],
)
def test_a_model_that_scores_less_on_its_target_is_not_one_to_take(
    change: float, low: float, high: float, said: str | None
) -> None:
    verdicts = [verdict("a", "Retained")]
    decision = gate("after", verdicts, gain=(change, Interval(low=low, high=high)), metric="accuracy")
    assert decision.arm == ("after" if said is None else None)
    assert decision.headline == f"Nothing beyond 2 pt was lost on the only suite{said or '.'}"
    assert exit_code(verdicts) == 0


def test_nothing_measured_is_said() -> None:
    assert gate("after", []).headline == "Undecided: no suite was measured."
