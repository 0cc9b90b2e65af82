"""What carried over: to wordings that training did not see, and to tasks that no arm was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import HeldOut, Summary, WordingGap
from keeptune.core.units import minus
from keeptune.report.arms import ArmView, named, target_axis
from keeptune.report.formatting import change_tick, interval_text, known, metric_number, metric_unit, score_text
from keeptune.report.plots import axis_strip, interval_strip, pair_strip, spread
from keeptune.report.svg import Axis


@dataclass(frozen=True)
class GapRow:
    """One arm: seen and unseen wordings."""

    gap: WordingGap
    mark: Markup
    chosen: bool


@dataclass(frozen=True)
class Wordings:
    """Paired dots and the axis under them."""

    rows: tuple[GapRow, ...]
    axis: Markup


def wordings(summary: Summary, views: Sequence[ArmView]) -> Wordings | None:
    """Seen against unseen wordings for every arm that has both."""
    gaps = [gap for gap in summary.wordings if gap.seen.n > 0 and gap.unseen.n > 0]
    values = [x for gap in gaps for s in (gap.seen, gap.unseen) for x in (s.mean, *(spread(s.interval) or ()))]
    if not any(known(value) for value in values):
        return None
    axis = target_axis(values, summary.metric)
    rows = []
    for gap in gaps:
        view = named(views, gap.arm)
        shape, class_ = (view.shape, view.class_) if view else ("circle", "dot")
        title = f"{gap.label}: seen {score_text(gap.seen)}, unseen {score_text(gap.unseen)}"
        mark = pair_strip(axis, gap.seen, gap.unseen, shape, class_, title=title)
        rows.append(GapRow(gap, mark, bool(view and view.chosen)))
    return Wordings(tuple(rows), axis_strip(axis))


@dataclass(frozen=True)
class HeldOutArm:
    """One arm's changes on tasks that it was not trained on, largest first."""

    label: str
    rows: tuple[tuple[HeldOut, Markup], ...]
    counts: str
    chosen: bool
    open: bool


@dataclass(frozen=True)
class Sides:
    """How many held-out tasks changed which way; clearly, where the whole interval is on that side."""

    above: int
    clearly_above: int
    below: int
    clearly_below: int

    @classmethod
    def of(cls, found: Sequence[HeldOut]) -> Sides:
        """The counts over the tasks of one arm."""
        ends = [both for one in found if (both := spread(one.interval)) is not None]
        return cls(
            above=sum(one.change > 0 for one in found),
            clearly_above=sum(low > 0 for low, _ in ends),
            below=sum(one.change < 0 for one in found),
            clearly_below=sum(high < 0 for _, high in ends),
        )


@dataclass(frozen=True)
class HeldOutTasks:
    """All arms on one axis."""

    arms: tuple[HeldOutArm, ...]
    axis: Markup


def held_out(summary: Summary, views: Sequence[ArmView]) -> HeldOutTasks | None:
    """The changes on held-out tasks by arm; the recommended arm's are open, else the first's."""
    shown = [one for one in summary.held_out if known(one.change)]
    if not shown:
        return None
    ends = [x for one in shown for x in (one.change, *(spread(one.interval) or ()))]
    axis = Axis.around([0.0, *ends], _tick(shown))
    names = list(dict.fromkeys(one.arm for one in shown))
    chosen = [name for name in names if (view := named(views, name)) and view.chosen]
    opened = (chosen or names)[0]
    return HeldOutTasks(
        tuple(_arm([one for one in shown if one.arm == name], axis, name in chosen, name == opened) for name in names),
        axis_strip(axis),
    )


def _tick(shown: Sequence[HeldOut]) -> Callable[[float], str]:
    """Ticks in points, except where all tasks are scored in bits per byte."""
    if all(metric_unit(one.before.metric) != "points" for one in shown):
        return lambda value: minus(f"{value:+.3g}")
    return change_tick


def _arm(found: Sequence[HeldOut], axis: Axis, chosen: bool, opened: bool) -> HeldOutArm:
    ordered = sorted(found, key=lambda one: -one.change)
    class_ = "dot chosen" if chosen else "dot"
    rows = [
        (one, interval_strip(axis, one.change, spread(one.interval), "circle", class_, 24, title=_title(one)))
        for one in ordered
    ]
    counts = Sides.of(found)
    above = f"{counts.above} of {len(found)} above 0 ({counts.clearly_above} clearly)"
    text = f"{above}, {counts.below} below ({counts.clearly_below} clearly)"
    return HeldOutArm(found[0].label, tuple(rows), text, chosen, opened)


def _title(one: HeldOut) -> str:
    metric = one.before.metric
    change = f"{metric_number(one.change, metric, signed=True)} ({interval_text(one.interval, metric, signed=True)})"
    return f"{one.task}: {change}, n = {one.after.n:,}"
