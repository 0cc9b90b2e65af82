"""From the verdicts on one changed model to a decision that a person reads and a CI job obeys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keeptune.core.records import UNSETTLED, Interval, Recommendation, SuiteVerdict
from keeptune.core.units import few
from keeptune.report.formatting import interval_text, metric_number
from keeptune.retention.sentences import arm_sentence

RETAINED, HARMED, UNDECIDED = 0, 10, 11


def exit_code(verdicts: Iterable[SuiteVerdict]) -> int:
    """0 where every suite is Retained, 10 where one is Harmed, 11 otherwise (also where there is no suite).

    Worse is a loss that may lie within the margin: not Harmed, and not Retained.
    """
    found = {verdict.verdict for verdict in verdicts}
    if "Harmed" in found:
        return HARMED
    return RETAINED if found == {"Retained"} else UNDECIDED


def gate(
    arm: str, verdicts: Sequence[SuiteVerdict], *, gain: tuple[float, Interval] | None = None, metric: str = ""
) -> Recommendation:
    """May `arm` replace the model that it was compared with? The same rule as `exit_code`, in words.

    ``gain`` in the target score decides nothing of that, but an arm that scores less on what it was trained for is
    not one to take.
    """
    code = exit_code(verdicts)
    open_suites = [v for v in verdicts if v.verdict in UNSETTLED]
    harmed = [v for v in verdicts if v.verdict == "Harmed"]
    telling = harmed + open_suites
    retained = sum(v.verdict == "Retained" for v in verdicts)
    counted = f"{retained} of {len(verdicts)} suites Retained."
    if code == RETAINED:
        headline = arm_sentence(verdicts)
    elif code == HARMED:
        headline = f"Do not ship: {_names(harmed)} harmed."
    elif open_suites:
        headline = f"Undecided: {_names(open_suites)}."
    else:
        headline = "Undecided: no suite was measured."
    fell = _fall(gain, metric)
    if fell:
        headline = f"{headline.rstrip('.')}; {fell}."
    return Recommendation(
        arm=arm if code == RETAINED and not fell else None,
        headline=headline,
        paragraph=" ".join([counted, *(_sentence(v) for v in telling or verdicts)]),
        provisional=False,
        binding=_sentence(telling[0]) if telling else None,
        runner_up=None,
    )


def _fall(gain: tuple[float, Interval] | None, metric: str) -> str:
    """A sentence that the target score is lower than before, with its interval; empty where it is not."""
    if gain is None or gain[0] >= 0:
        return ""
    change, interval = gain
    numbers = f"{metric_number(change, metric, signed=True)} ({interval_text(interval, metric, signed=True)})"
    return f"the target score {'fell' if interval.high < 0 else 'did not rise'}: {numbers}"


def _sentence(verdict: SuiteVerdict) -> str:
    """The wording of a verdict as a sentence of its own."""
    return f"{verdict.sentence[:1].upper()}{verdict.sentence[1:].rstrip('.')}."


def _names(verdicts: Sequence[SuiteVerdict], shown: int = 4) -> str:
    """'a, b, c, d and 3 more'."""
    return few([v.suite for v in verdicts], shown)
