"""The sentences of the verdicts. Numbers in points with one decimal, or in per cent of the bits per byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeptune.core import units
from keeptune.core.records import Interval, SuiteVerdict
from keeptune.retention.pairs import Suite
from keeptune.retention.skill import Skill

ON_JUDGED = "; that the base can do it was decided on the judged items, for want of validation items"


def points(fraction: float, signed: bool = False) -> str:
    """Like `core.units.points`, except that an exact zero has no minus and a rounded one shows its side ('−0.0')."""
    return units.points(fraction + 0.0, signed)


def unit(suite: Suite) -> str:
    """'%' for relative changes, 'pt' for points."""
    return "%" if suite.relative else "pt"


def margin_text(suite: Suite) -> str:
    """The margin with its unit: '2 pt', '0.5 %'."""
    return f"{100 * suite.required_margin:.3g} {unit(suite)}"


def spread_text(interval: Interval) -> str:
    """'95 % CI −2.9 to +0.4'."""
    low, high = points(interval.low, signed=True), points(interval.high, signed=True)
    return f"{100 * interval.level:g} % CI {low} to {high}"


def size_text(n: int, clusters: int) -> str:
    """'n = 1,546', with the clusters where items share them."""
    return f"n = {n:,}" if n == clusters else f"n = {n:,} in {clusters:,} clusters"


@dataclass(frozen=True)
class Facts:
    """What every sentence on a change is made of."""

    suite: Suite
    change: float
    interval: Interval | None
    n: int
    clusters: int
    unasked: int = 0  # items that were left, because these settled it

    @property
    def size(self) -> str:
        """'n = 1,546', with clusters where items share them, and the documents where there are few."""
        text = size_text(self.n, self.clusters)
        if self.unasked:
            text += f"; {self.unasked:,} more were not needed"
        count = self.suite.documents
        if count is None:
            return text
        return f"{text}, on {'this document' if count == 1 else f'these {count:,} documents'} alone"

    @property
    def seen(self) -> str:
        """'change −0.3 pt, 95 % CI −1.3 to +0.7, n = 1,546'."""
        spread = f", {spread_text(self.interval)}" if self.interval else ""
        return f"change {points(self.change, signed=True)} {unit(self.suite)}{spread}, {self.size}"


def not_measurable(suite: Suite, skill: Skill) -> str:
    """Why a suite is Not measurable: the base has no skill that could be seen to go, or less than the margin."""
    size = f"{size_text(skill.n, skill.clusters)}, {skill.on} items"
    if skill.present:
        largest = f"{points(skill.largest_margin)} {unit(suite)}"
        return (
            f"a margin of {margin_text(suite)} exceeds half of what the base has above chance on {suite.name}"
            f" ({points(skill.above)} {unit(suite)}; {size}); the largest usable margin is {largest}"
        )
    if suite.relative:
        return (
            f"the base needs {skill.before:.3f} bits per byte on {suite.name}, not fewer by three standard errors than"
            f" the frequencies of the bytes alone ({suite.chance:.3f}; {size}): a loss could not be seen"
        )
    floor = "zero" if suite.chance is None else f"chance ({points(suite.chance)} pt)"
    return (
        f"the base scores {points(skill.before)} pt on {suite.name}, not three standard errors above {floor}"
        f" ({size}): a loss could not be seen"
    )


def retained(facts: Facts, lower: float) -> str:
    """Why a suite is Retained: a loss as large as the margin is excluded."""
    suite = facts.suite
    text = (
        f"worst plausible loss on {suite.name} is {points(max(-lower, 0.0))} {unit(suite)}, within the margin of"
        f" {margin_text(suite)} ({facts.seen})"
    )
    small = facts.interval is not None and facts.interval.high < 0
    return text + f"; small loss shown: {points(-facts.change)} {unit(suite)}" if small else text


def unchanged(facts: Facts) -> str:
    """Why a suite is Retained on which every score stayed the same."""
    margin = margin_text(facts.suite)
    return f"nothing changed on {facts.suite.name}: every score is the same (margin {margin}, {facts.size})"


def same_weights(facts: Facts) -> str:
    """Why every suite is Retained where the two models hold equal weights."""
    margin = margin_text(facts.suite)
    return f"nothing changed on {facts.suite.name}: the two models hold equal weights (margin {margin})"


def harmed(facts: Facts, upper: float, p_holm: float) -> str:
    """Why a suite is Harmed: its loss is larger than the margin."""
    suite = facts.suite
    return (
        f"lost at least {points(-upper)} {unit(suite)} on {suite.name}, more than the margin of {margin_text(suite)}"
        f" ({facts.seen}, Holm {p_text(p_holm)})"
    )


def worse(facts: Facts, p_holm: float, needed: int | None) -> str:
    """Why a suite is Worse: a loss is shown, but not whether it is larger than the margin."""
    suite = facts.suite
    return (
        f"lost {points(-facts.change)} {unit(suite)} on {suite.name} ({facts.seen}, Holm {p_text(p_holm)});"
        f" whether it is more than the margin of {margin_text(suite)} is open: {_would_settle(needed)}"
    )


def inconclusive(facts: Facts, needed: int | None) -> str:
    """Why a suite is Inconclusive: neither is the margin excluded nor a loss shown."""
    return f"{_between(facts)} with {facts.size}; margin {margin_text(facts.suite)}: {_would_settle(needed)}"


def too_few_clusters(facts: Facts, needed: int) -> str:
    """Why clustered scores from fewer than 30 clusters get no verdict."""
    found = f"{_between(facts)} with" if facts.interval else f"no interval on {facts.suite.name} from"
    return (
        f"{found} {facts.n:,} items in {facts.clusters:,} cluster{'s' if facts.clusters != 1 else ''};"
        f" {needed:,} clusters would settle {margin_text(facts.suite)} (no verdict is given below 30)"
    )


def p_text(p: float) -> str:
    """'p = 0.012', 'p < 0.001'."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _would_settle(needed: int | None) -> str:
    if needed is None:
        return "what was seen lies so near to it that no practicable number of items would settle it"
    return f"{needed:,} items would settle it"


def _between(facts: Facts) -> str:
    assert facts.interval is not None
    low, high = points(facts.interval.low, signed=True), points(facts.interval.high, signed=True)
    return f"between {low} and {high} {unit(facts.suite)} on {facts.suite.name} ({100 * facts.interval.level:g} % CI)"


def arm_sentence(verdicts: Sequence[SuiteVerdict]) -> str:
    """One sentence on all suites of an arm.

    "Nothing beyond the margin was lost on any suite" needs every suite Retained (intersection-union: each
    passes its own test, no correction).
    """
    if not verdicts:
        return "No suite was measured."
    if all(v.verdict == "Retained" for v in verdicts):
        margins = {(v.margin, v.relative) for v in verdicts}
        margin, relative = next(iter(margins))
        what = f"{100 * margin:.4g} {'%' if relative else 'pt'}" if len(margins) == 1 else "its margin"
        return f"Nothing beyond {what} was lost on {units.any_of(len(verdicts))}."
    groups = []
    for state in ("Harmed", "Worse", "Inconclusive", "Not measurable", "Retained"):
        names = [v.suite for v in verdicts if v.verdict == state]
        if names:
            groups.append(f"{state}: {', '.join(names)}")
    return f"{'; '.join(groups)}."


def overall_sentence(suites: int, change: float, interval: Interval, p: float, *, shown: bool) -> str:
    """The test over all suites together, in margins: 'all 9 measurable suites together: no loss is shown (...)'."""
    numbers = [units.minus(f"{value:+.2f}") for value in (change, interval.low, interval.high)]
    found = "something was lost" if shown else "no loss is shown"
    return (
        f"all {suites} measurable suites together: {found} ({numbers[0]} margins on the mean suite,"
        f" {100 * interval.level:g} % CI {numbers[1]} to {numbers[2]}, {p_text(p)})"
    )
