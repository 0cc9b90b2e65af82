"""Target score by arm, and gain against retention: the two charts that carry the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import Summary
from keeptune.report.arms import (
    MANY,
    ArmView,
    change_axis,
    score_axis,
    scored,
    shared_margin,
    target_axis,
    worst,
)
from keeptune.report.formatting import (
    change_interval,
    change_text,
    change_unit,
    metric_title,
    score_text,
    unit_of_changes,
)
from keeptune.report.frame import Frame
from keeptune.report.plots import PLOT, Point, axis_strip, interval_strip, scatter, spread
from keeptune.report.svg import Axis


@dataclass(frozen=True)
class Row:
    """One arm and its dot."""

    view: ArmView
    mark: Markup


@dataclass(frozen=True)
class Scores:
    """Dot and whisker for every scored arm, the axis under them, and the arms without a score."""

    rows: tuple[Row, ...]
    axis: Markup
    left_out: tuple[ArmView, ...]  # not run

    @property
    def many(self) -> bool:
        """Whether the chart takes the whole width and arms are numbered."""
        return len(self.rows) > MANY


def scores(views: Sequence[ArmView], metric: str) -> Scores | None:
    """The target scores, or None where nothing was scored."""
    found = scored(views)
    if not found:
        return None
    axis = score_axis(found, metric)
    return Scores(tuple(Row(v, _mark(axis, v)) for v in found), axis_strip(axis), tuple(v for v in views if v.not_run))


def _mark(axis: Axis, v: ArmView) -> Markup:
    target = v.arm.target
    title = f"{v.label}: {score_text(target)}, n = {target.n:,}"
    return interval_strip(axis, target.mean, spread(target.interval), v.shape, v.class_, title=title)


@dataclass(frozen=True)
class Retention:
    """The scatter of gain against retention and what its caption needs."""

    chart: Markup
    key: tuple[ArmView, ...]  # names of the numbers in a crowded chart
    margin: float | None  # where all suites share one
    lower_is_better: bool
    beaten: bool  # some arm is no member of the Pareto set


def retention_chart(summary: Summary, views: Sequence[ArmView]) -> Retention | None:
    """Gain against retention, or None where nothing retained was measured or two arms leave nothing to choose."""
    placed = [v for v in scored(views) if not v.trained or worst(v.arm)]
    if not any(worst(v.arm) for v in placed) or len(placed) < 3:
        return None
    many = len(placed) > MANY
    points = [_point(v, str(v.number) if many else v.label) for v in placed]
    margin = shared_margin(views)
    frame = Frame(
        target_axis([x for p in points for x in (p.x, *(p.x_range or ()))], summary.metric),
        change_axis([-(margin or 0.0), *(y for p in points for y in (p.y, *(p.y_range or ())))]),
        PLOT,
        metric_title(summary.metric),
        f"worst change of a retained suite, {_unit(placed)}",
        8.0,
        margin=margin,
    )
    chart = scatter(
        points,
        frame,
        description="Target score against the worst change of a retained suite, one marker per arm",
        path=sorted((p.x, p.y) for p in points if "open" not in p.class_),
    )
    lower = any(not v.arm.target.higher_is_better for v in placed)
    beaten = any("open" in p.class_ for p in points)
    return Retention(chart, tuple(placed) if many else (), margin, lower, beaten)


def _unit(views: Sequence[ArmView]) -> str:
    """Of the worst changes."""
    return unit_of_changes({low.relative for v in views if (low := worst(v.arm))}, "points or per cent")


def _point(v: ArmView, name: str) -> Point:
    """Target score against the worst retained change; an arm that leaves the weights alone changes nothing."""
    target, low = v.arm.target, worst(v.arm)
    interval = low.interval if low else None
    where = f"; worst on {low.suite}: {change_text(low.change)} {change_unit(low)}" if low else ""
    title = f"{v.label}: {score_text(target)}{where}{f' ({change_interval(interval)})' if interval else ''}"
    class_ = v.class_ if v.arm.pareto else f"{v.class_} open"
    return Point(
        name, target.mean, low.change if low else 0.0, spread(target.interval), spread(interval), v.shape, class_, title
    )
