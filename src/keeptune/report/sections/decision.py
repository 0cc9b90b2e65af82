"""The top of the page: one word that decides, and a sentence each for what was learned, what was lost, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keeptune.core.records import OPEN, UNSETTLED, ArmSummary, SequenceSummary, SuiteVerdict, Summary
from keeptune.core.units import any_of, few
from keeptune.report.arms import ArmView, measurable, ran, worst
from keeptune.report.formatting import (
    change_text,
    change_unit,
    interval_text,
    level_text,
    metric_name,
    metric_number,
    metric_unit,
    score_text,
    sentence_case,
)
from keeptune.report.plots import spread

Word = Literal["Keep", "Do not ship", "Undecided"]
NAMED = 3  # suites that a sentence names
FRACTION = "accuracy"  # scores of tasks learned in turn are fractions


@dataclass(frozen=True)
class Decision:
    """What somebody needs who reads no further."""

    word: Word
    learned: str
    lost: str
    to_do: str
    base: str  # what a gain is over


def decision(summary: Summary, views: Sequence[ArmView]) -> Decision:
    """Read off the recommendation and off the arm that it is about: the one to take, else the best that trained."""
    taken = next((v for v in views if v.chosen), None)
    about = taken if taken is not None and taken.trained else _best(summary, views)
    base = "the best prompting" if any(v.arm.prompting for v in views) else "the model before"
    if about is None and summary.sequences:
        return _in_turn(summary.sequences, base)
    word = _word(summary, taken, about)
    learned = sentence_case(_learned(summary, about, base))
    return Decision(word, learned, _lost(summary, about), _to_do(word, taken, about, views), base)


def _in_turn(sequences: Sequence[SequenceSummary], base: str) -> Decision:
    """Of tasks learned one after another: what the order and arm with the best end learned and forgot."""
    best = max(sequences, key=lambda one: one.average_accuracy.mean)
    end, forgot = best.average_accuracy, best.forgetting
    scored = f"{metric_number(end.mean, FRACTION)} ({interval_text(end.interval, FRACTION)})"
    lost = f"{metric_number(forgot.mean, FRACTION)} ({interval_text(forgot.interval, FRACTION)})"
    return Decision(
        "Undecided",
        sentence_case(f"{best.label} ends with {scored} points on average over {len(best.order)} tasks."),
        f"It forgot {lost} points of the earlier tasks on average.",
        "Choose among the tables of tasks learned in turn: nothing else was asked here.",
        base,
    )


def _best(summary: Summary, views: Sequence[ArmView]) -> ArmView | None:
    """The trained arm that validation chose, else the one that scored best."""
    trained = [v for v in ran(views) if v.trained]
    chosen = next((v for v in trained if v.arm.name == summary.recommendation.chosen), None)
    return chosen or max(trained, key=_score, default=None)


def _score(view: ArmView) -> float:
    target = view.arm.target
    return target.mean if target.higher_is_better else -target.mean


def _word(summary: Summary, taken: ArmView | None, about: ArmView | None) -> Word:
    """Keep: take what is recommended. Do not ship: the trained model harms, or did not learn. Otherwise undecided."""
    verdicts = {verdict.verdict for verdict in about.arm.suites} if about else set()
    if taken is not None and taken.trained:
        return "Undecided" if summary.recommendation.provisional or not (verdicts or _harmless(summary)) else "Keep"
    if about is None:
        return "Keep" if taken else "Undecided"
    if "Harmed" in verdicts:
        return "Do not ship"
    if taken is not None:
        return "Keep"
    gain = _gain(about.arm)
    fell = gain is not None and gain[0] <= 0
    return "Undecided" if not fell and (verdicts & set(UNSETTLED) or not verdicts) else "Do not ship"


def _gain(arm: ArmSummary) -> tuple[float, float] | None:
    """Both ends of what was gained; more is better, whatever the metric."""
    ends = spread(arm.gain)
    return ends if ends is None or arm.target.higher_is_better else (-ends[1], -ends[0])


def _harmless(summary: Summary) -> bool:
    """Whether the recipe declared that forgetting does no harm here."""
    return summary.manifest.config.get("forgetting") == "harmless"


def _learned(summary: Summary, about: ArmView | None, base: str) -> str:
    """'LoRA r=16 scores 41.2 exact match on orders, +18.2 points over the best prompting (95 % +15.8 to +20.6).'"""
    if about is None:
        return "No model was trained."
    arm, metric = about.arm, summary.metric
    if arm.target.n == 0:
        return "Not measured: no target was scored."
    on = f" on {summary.target}" if summary.target else ""
    gain = _gain(arm)
    if arm.gain is None or arm.gain_mean is None or gain is None:
        return f"{about.label} scores {score_text(arm.target)} {metric_name(metric)}{on}."
    change = f"{metric_number(arm.gain_mean, metric, signed=True)} {metric_unit(metric)}"
    interval = f"{level_text(arm.gain.level)} {interval_text(arm.gain, metric, signed=True)}"
    what = f"scores {metric_number(arm.target.mean, metric)} {metric_name(metric)}{on}"
    if gain[0] > 0:
        return f"{about.label} {what}, {change} over {base} ({interval})."
    shown = "below" if gain[1] < 0 else "not shown to be better than"
    return f"{about.label} {what}, {shown} {base}: {change} ({interval})."


def _lost(summary: Summary, about: ArmView | None) -> str:
    """'More than the margin on 3 of 7 suites: addition (−31.0 points), odd one out (−8.2 points) and 1 more.'"""
    if about is None:
        return "Nothing: no weight was changed."
    suites = about.arm.suites
    if not suites:
        why = "forgetting was declared harmless" if _harmless(summary) else "no retained suite was given"
        return f"Not measured: {why}."
    seen = measurable(about.arm)
    harmed = [v for v in seen if v.verdict == "Harmed"]
    if harmed:
        return f"More than the margin on {len(harmed)} of {len(suites)} suites: {_worst(harmed)}."
    still = [v.suite for v in suites if v.verdict in UNSETTLED]
    if not still:
        return f"Nothing beyond the margin, on {any_of(len(suites))}."
    kept = f"Nothing beyond the margin on {len(suites) - len(still)} of {len(suites)} suites; not settled: "
    return f"{kept}{few(still, NAMED)}."


def _worst(harmed: Sequence[SuiteVerdict]) -> str:
    ordered = sorted(harmed, key=lambda v: v.change)
    return few([f"{v.suite} ({change_text(v.change)} {change_unit(v)})" for v in ordered], NAMED)


def _to_do(word: Word, taken: ArmView | None, about: ArmView | None, views: Sequence[ArmView]) -> str:
    """What follows, in words that the records carry."""
    if word == "Keep":
        where = "; its model is in tuned/, in the run folder" if taken and taken.trained else ""
        return f"Take {taken.label}{where}." if taken else ""
    suites = about.arm.suites if about else ()
    if word == "Undecided":
        return _to_settle(suites)
    stay = f"take {taken.label}" if taken else "stay with the model as it was"
    if about is None or not any(v.verdict == "Harmed" for v in suites):
        cause = about.arm.cause if about else None
        look = f"likely cause of learning nothing: {cause}" if cause else "look at what was trained on"
        return f"Do not ship {about.label if about else 'it'}; {stay}; {look}."
    return f"Do not ship {about.label}; {stay}, or {_instead(about, views)}."


def _to_settle(suites: Sequence[SuiteVerdict]) -> str:
    needed = max(((v.n_needed, v.suite) for v in suites if v.verdict in OPEN and v.n_needed), default=None)
    if needed:
        return f"Test more items before shipping: about {needed[0]:,} would settle {needed[1]}."
    if not suites:
        return "Before shipping, measure a suite that must not get worse."
    return "Settle what is open before shipping: see what could not be told."


def _instead(about: ArmView, views: Sequence[ArmView]) -> str:
    """Where no remedy was tried, to try one; else the arm that learned and lost least."""
    if not any(v.arm.parts and v.arm.parts.remedies for v in views):
        return "train again with a remedy against forgetting, replay first"
    learned = [(low.change, v) for v in ran(views) if (low := worst(v.arm)) and (_gain(v.arm) or (0.0,))[0] > 0]
    change, kept = max(learned, key=lambda pair: pair[0], default=(0.0, about))
    if kept is about:
        return "train again with a larger dose of what holds it back"
    return f"start from {kept.label}, which lost least ({change_text(change)} at worst)"
