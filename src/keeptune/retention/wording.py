"""The sentences of the verdicts. Numbers in points with one decimal, or in per cent of the bits per byte."""

from __future__ import annotations

from collections.abc import Sequence

from keeptune.core import units
from keeptune.core.records import Interval, SuiteVerdict
from keeptune.retention.pairs import Suite


def points(fraction: float, signed: bool = False) -> str:
    """As `core.units.points`; an exact zero has no minus, a rounded one shows its side ('−0.0')."""
    return units.points(fraction + 0.0, signed)


def unit(suite: Suite) -> str:
    """'%' for relative changes, 'pt' for points."""
    return "%" if suite.relative else "pt"


def margin_text(suite: Suite) -> str:
    """The margin with its unit: '2 pt', '0.5 %'."""
    return f"{100 * suite.margin:.4g} {unit(suite)}"


def spread_text(interval: Interval) -> str:
    """'95 % CI −2.9 to +0.4'."""
    low, high = points(interval.low, signed=True), points(interval.high, signed=True)
    return f"{100 * interval.level:g} % CI {low} to {high}"


def size_text(n: int, clusters: int) -> str:
    """'n = 1,546', with the clusters where items share them."""
    return f"n = {n:,}" if n == clusters else f"n = {n:,} in {clusters:,} clusters"


def not_measurable(suite: Suite, before: float, n: int, clusters: int) -> str:
    """The base has nothing that could be seen to be lost."""
    floor = "zero" if suite.chance is None else f"chance ({points(suite.chance)} pt)"
    return (
        f"the base scores {points(before)} pt on {suite.name}, not three standard errors above {floor}"
        f" ({size_text(n, clusters)}): a loss could not be seen"
    )


def retained(suite: Suite, change: float, interval: Interval, lower: float, size: str, small_loss: bool) -> str:
    """The margin is excluded."""
    text = (
        f"worst plausible loss on {suite.name} is {points(max(-lower, 0.0))} {unit(suite)} ≤ {margin_text(suite)}"
        f" (change {points(change, signed=True)} {unit(suite)}, {spread_text(interval)}, {size})"
    )
    return text + f"; small loss shown: {points(-change)} {unit(suite)}" if small_loss else text


def harmed(suite: Suite, change: float, interval: Interval, p_holm: float, size: str) -> str:
    """A loss is shown and the margin is not excluded."""
    p = "< 0.001" if p_holm < 0.001 else f"= {p_holm:.3f}"
    low, high = points(-interval.high), points(-interval.low)
    return (
        f"lost {points(-change)} {unit(suite)} on {suite.name}"
        f" ({100 * interval.level:g} % CI {low} to {high}, {size}, Holm p {p})"
    )


def inconclusive(suite: Suite, interval: Interval, n: int, needed: int, as_harm: bool) -> str:
    """Neither the margin is excluded nor a loss shown."""
    would = (
        f"would show a loss of the size seen, margin {margin_text(suite)}"
        if as_harm
        else f"would settle {margin_text(suite)}"
    )
    return f"{_between(suite, interval)} with {n:,} items; {needed:,} items {would}"


def too_few_clusters(suite: Suite, interval: Interval | None, n: int, clusters: int, needed: int) -> str:
    """Clustered scores from fewer than 30 clusters carry no verdict."""
    found = f"{_between(suite, interval)} with" if interval else f"no interval on {suite.name} from"
    return (
        f"{found} {n:,} items in {clusters:,} cluster{'s' if clusters != 1 else ''};"
        f" {needed:,} clusters would settle {margin_text(suite)} (no verdict is given below 30)"
    )


def _between(suite: Suite, interval: Interval) -> str:
    low, high = points(interval.low, signed=True), points(interval.high, signed=True)
    return f"between {low} and {high} {unit(suite)} on {suite.name} ({100 * interval.level:g} % CI)"


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
        return f"Nothing beyond {what} was lost on any of {len(verdicts)} suites."
    groups = []
    for state in ("Harmed", "Inconclusive", "Not measurable", "Retained"):
        names = [v.suite for v in verdicts if v.verdict == state]
        if names:
            groups.append(f"{state}: {', '.join(names)}")
    return f"{'; '.join(groups)}."
