"""The charts that several sections share, as inline SVG: interval strips, bars and scatters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import Interval, Score, SuiteVerdict
from keeptune.report.formatting import known
from keeptune.report.frame import Frame
from keeptune.report.labels import Box, place
from keeptune.report.svg import Axis, element, label, line, marker, percent

STRIP = 34.0  # height of one row of a dot chart, pixels
PLOT = 300.0  # height of a scatter, pixels
WIDE, NARROW = 440.0, 250.0  # widths for which labels are placed; a media query shows one of the two sets
MARGINS_BELOW, MARGINS_ABOVE = 4.0, 2.5  # a change strip spans -4 to +2.5 margins


@dataclass(frozen=True)
class Point:
    """One marker of a scatter with its intervals."""

    name: str
    x: float
    y: float
    x_range: tuple[float, float] | None
    y_range: tuple[float, float] | None
    shape: str
    class_: str  # "dot", with "open" for a hollow marker and "chosen" for the recommended arm
    title: str


def spread(interval: Interval | None) -> tuple[float, float] | None:
    """Both ends of an interval that has them."""
    if interval is None or not (known(interval.low) and known(interval.high)):
        return None
    return interval.low, interval.high


def whisker(axis: Axis, ends: tuple[float, float] | None, y: float, class_: str, *, caps: float = 0) -> list[Markup]:
    """A horizontal interval, with caps of that many pixels to either side."""
    if ends is None:
        return []
    parts = [line(axis.x(ends[0]), y, axis.x(ends[1]), y, f"whisker {class_}")]
    if caps:
        parts += [line(axis.x(end), y - caps, axis.x(end), y + caps, f"whisker {class_}") for end in ends]
    return parts


def _upright(axis: Axis, height: float) -> list[Markup]:
    """The grid of a strip, and a stronger line at 0 where there are values on both sides."""
    parts = [line(axis.x(tick), 0, axis.x(tick), height, "grid") for tick in axis.ticks]
    return [*parts, line(axis.x(0), 0, axis.x(0), height, "zero")] if axis.low < 0 < axis.high else parts


def score_strip(axis: Axis, score: Score, shape: str, class_: str, height: float = STRIP) -> Markup:
    """Dot and whisker of one arm on a shared axis."""
    return interval_strip(axis, score.mean, spread(score.interval), shape, class_, height)


def interval_strip(
    axis: Axis, mean: float, ends: tuple[float, float] | None, shape: str, class_: str, height: float = STRIP
) -> Markup:
    """Dot and whisker on a shared axis."""
    parts = _upright(axis, height) + whisker(axis, ends, height / 2, class_, caps=4)
    if known(mean):
        parts.append(marker(axis.x(mean), height / 2, shape, class_))
    return element("svg", *parts, class_="strip", height=height, aria_hidden="true")


def pair_strip(axis: Axis, filled: Score, hollow: Score, shape: str, class_: str) -> Markup:
    """Two scores of one arm joined by a line, the second one hollow; their intervals run above and below it."""
    parts, middle = _upright(axis, STRIP), STRIP / 2
    parts += whisker(axis, spread(filled.interval), middle - 9, f"thin {class_}")
    parts += whisker(axis, spread(hollow.interval), middle + 9, f"thin {class_}")
    if known(filled.mean) and known(hollow.mean):
        parts.append(line(axis.x(filled.mean), middle, axis.x(hollow.mean), middle, f"whisker {class_}"))
    for score, kind in ((filled, class_), (hollow, f"{class_} open")):
        if known(score.mean):
            parts.append(marker(axis.x(score.mean), middle, shape, kind))
    return element("svg", *parts, class_="strip", height=STRIP, aria_hidden="true")


def axis_strip(axis: Axis) -> Markup:
    """The numbers under a column of strips."""
    ticks = [label(axis.x(tick), 12, axis.write(tick)) for tick in axis.ticks]
    return element("svg", *ticks, class_="strip", height=18, aria_hidden="true")


def change_strip(verdict: SuiteVerdict) -> Markup:
    """Change and interval of one suite in units of its margin: solid line at 0, dashed line at minus the margin.

    An interval that leaves the strip ends in an arrow head.
    """
    middle = 9.0
    if verdict.margin <= 0 or not known(verdict.change):
        return Markup("")
    axis = Axis(-MARGINS_BELOW, MARGINS_ABOVE, (), str)
    parts = [
        line(axis.x(0), 0, axis.x(0), 18, "zero"),
        line(axis.x(-1), 0, axis.x(-1), 18, "margin"),
    ]
    class_ = "v-" + verdict.verdict.lower().replace(" ", "-")
    ends = spread(verdict.interval)
    if ends is not None:
        low, high = ends[0] / verdict.margin, ends[1] / verdict.margin
        parts += whisker(axis, (low, high), middle, class_)
        if low < axis.low:
            parts.append(_arrow(axis.x(axis.low), middle, -1, class_))
        if high > axis.high:
            parts.append(_arrow(axis.x(axis.high), middle, 1, class_))
    change = verdict.change / verdict.margin
    if axis.low <= change <= axis.high:
        parts.append(marker(axis.x(change), middle, "circle", f"dot {class_}"))
    return element("svg", *parts, class_="strip change", height=18, aria_hidden="true")


def _arrow(x: float, y: float, direction: int, class_: str) -> Markup:
    path = element("path", d=f"M{5 * direction} 0L{-3 * direction} -4.5V4.5Z", class_=f"dot {class_}")
    return element("svg", path, x=percent(x), y=y, width=1, height=1, overflow="visible")


def bar(value: float, largest: float, chosen: bool) -> Markup:
    """A bar from zero; never thinner than a hair, so that a small value stays visible."""
    width = 100 * value / largest if largest > 0 else 0.0
    parts = [element("rect", x=0, y=0, width="100%", height=6, class_="track")]
    if value > 0:
        parts.append(
            element(
                "rect", x=0, y=0, width=percent(max(width, 0.6)), height=6, class_="bar chosen" if chosen else "bar"
            )
        )
    return element("svg", *parts, class_="strip", height=6, aria_hidden="true")


def scatter(
    points: Sequence[Point],
    x_axis: Axis,
    y_axis: Axis,
    *,
    description: str,
    path: Sequence[tuple[float, float]] = (),
    level: float | None = None,
) -> Markup:
    """Markers with their intervals and names.

    Args:
        path: values joined by a dashed line (the Pareto set, or the prompting arms by shots).
        level: a value of y with a dashed line across (the margin, where all suites share one).
    """
    frame = Frame(x_axis, y_axis, PLOT, 8.0)
    parts = frame.grid()
    if level is not None:
        parts.append(frame.across(level, "margin"))
    parts.append(frame.join(path, "path"))
    for p in points:
        class_ = f"whisker thin {p.class_}"
        if p.x_range:
            parts.append(line(*frame.at(p.x_range[0], p.y), *frame.at(p.x_range[1], p.y), class_))
        if p.y_range:
            parts.append(frame.upright(p.x, *p.y_range, class_))
    parts += [marker(*frame.at(p.x, p.y), p.shape, p.class_, p.title) for p in points]
    avoid = _along([frame.at(x, y) for x, y in path])
    parts += _names(points, [frame.at(p.x, p.y) for p in points], avoid)
    return frame.figure(parts, description)


def _along(path: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places along a broken line, close enough that no name fits between them."""
    return [
        (x1 + (x2 - x1) * step / 24, y1 + (y2 - y1) * step / 24)
        for (x1, y1), (x2, y2) in itertools.pairwise(path)
        for step in range(25)
    ]


def _names(
    points: Sequence[Point], places: Sequence[tuple[float, float]], avoid: Sequence[tuple[float, float]]
) -> list[Markup]:
    """The names twice, placed for a wide and for a narrow plot; a media query shows one of them."""
    groups = []
    for class_, width, length in (("wide", WIDE, 30), ("narrow", NARROW, 18)):
        names = [p.name if len(p.name) <= length else p.name[: length - 1] + "…" for p in points]
        pixels = [(x * width / 100, y) for x, y in places]
        boxes = place(pixels, names, width, PLOT, [(x * width / 100, y) for x, y in avoid])
        texts = [
            label(
                x, box[3] - 3.5, name, "name chosen" if "chosen" in point.class_ else "name", "start", box[0] - pixel[0]
            )
            for point, name, (x, _), pixel, box in zip(points, names, places, pixels, boxes, strict=True)
        ]
        leaders = [_leader(x, pixel, box) for (x, _), pixel, box in zip(places, pixels, boxes, strict=True)]
        groups.append(element("g", *leaders, *texts, class_=f"names-{class_}"))
    return groups


def _leader(x: float, marker_at: tuple[float, float], box: Box) -> Markup:
    """A thin line from a marker to a name that had to go far away; nothing for a name that is near."""
    across = min(max(marker_at[0], box[0]), box[2]) - marker_at[0]
    end = min(max(marker_at[1], box[1]), box[3])
    if math.hypot(across, end - marker_at[1]) < 14:
        return Markup("")
    path = element("line", x1=0, y1=marker_at[1], x2=across, y2=end, class_="leader")
    return element("svg", path, x=percent(x), y=0, width=1, height=1, overflow="visible")
