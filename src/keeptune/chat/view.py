"""What the page is told: columns with their verdicts in words, suggestions, limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from keeptune.chat.columns import Column, Sources, Suggestion
from keeptune.core.records import Record, SuiteVerdict
from keeptune.core.records.verdicts import Verdict
from keeptune.report.formatting import change_unit, change_with_interval, metric_name, score_text

ORDER: tuple[Verdict, ...] = (
    "Harmed",
    "Worse",
    "Inconclusive",
    "Not measurable",
    "Retained",
)  # what has to be known comes first


class SuiteView(Record):
    """One retained suite of a column."""

    suite: str
    verdict: Verdict
    change: str  # "−3.1 (−4.0 to −2.2) pt"
    sentence: str


class CountView(Record):
    """How many suites have a verdict."""

    verdict: Verdict
    n: int


class ColumnView(Record):
    """One column's head."""

    number: int  # as requests name it
    label: str
    about: str  # which model or run it is of, where that is not clear
    recommended: bool
    score: str  # on the run's target; "" where there is none
    counts: tuple[CountView, ...] = ()
    suites: tuple[SuiteView, ...] = ()


class PageView(Record):
    """All that the page shows before anything is asked."""

    title: str
    columns: tuple[ColumnView, ...]
    suggestions: tuple[Suggestion, ...]
    notes: tuple[str, ...]
    max_new_tokens: int
    kept: str  # the file that kept answers go to


def page_view(sources: Sources, max_new_tokens: int, kept: str) -> PageView:
    """What `sources` are, in words."""
    names = list(dict.fromkeys(column.source for column in sources.columns))
    return PageView(
        title=" · ".join(names),
        columns=tuple(_column(number, column, len(names) > 1) for number, column in enumerate(sources.columns)),
        suggestions=sources.suggestions,
        notes=sources.notes,
        max_new_tokens=max_new_tokens,
        kept=kept,
    )


def _column(number: int, column: Column, several: bool) -> ColumnView:
    arm = column.arm
    suites = sorted(arm.suites if arm else (), key=lambda suite: ORDER.index(suite.verdict))
    about = [column.place.model] if arm is None or arm.prompting else []
    about += [column.source] if several else []
    score = f"{column.target}: {score_text(arm.target)} {metric_name(arm.target.metric)}" if arm else ""
    return ColumnView(
        number=number,
        label=column.label,
        about=" · ".join(dict.fromkeys(each for each in about if each != column.label)),
        recommended=column.recommended,
        score=score,
        counts=_counts(suites),
        suites=tuple(_suite(suite) for suite in suites),
    )


def _counts(suites: Sequence[SuiteVerdict]) -> tuple[CountView, ...]:
    return tuple(CountView(verdict=verdict, n=n) for verdict, n in Counter(each.verdict for each in suites).items())


def _suite(suite: SuiteVerdict) -> SuiteView:
    change = f"{change_with_interval(suite.change, suite.interval)} {change_unit(suite)}"
    return SuiteView(suite=suite.suite, verdict=suite.verdict, change=change, sentence=suite.sentence)
