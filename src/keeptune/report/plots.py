"""The charts that several sections share, as inline SVG: interval strips, bars and scatters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import Interval, Score, SuiteVerdict
from keeptune.report.formatting import change_interval, change_text, change_tick, change_unit, known
from keeptune.report.frame import Frame
from keeptune.report.labels import LINE, Box, leader, place
from keeptune.report.svg import Axis, element, label, line, marker, percent, strip

STRIP = 34.0  # height of one row of a dot chart, pixels
CHANGE = 20.0  # height of a strip in a table of verdicts, pixels
PLOT = 300.0  # height of a scatter, pixels
WIDE, NARROW = 456.0, 280.0  # a scatter has one of these widths, and names placed for it; style.css has them too
NAME = 20  # characters in a line of a name
TOGETHER = 5.0  # pixels between markers that share a label
BESIDE = 8.0  # pixels from the centre of a marker to where a leader begins


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

    @property
    def whiskers(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        """Both ends of every interval, as values."""
        across = [((self.x_range[0], self.y), (self.x_range[1], self.y))] if self.x_range else []
        return across + ([((self.x, self.y_range[0]), (self.x, self.y_range[1]))] if self.y_range else [])


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


def interval_strip(
    axis: Axis,
    mean: float,
    ends: tuple[float, float] | None,
    shape: str,
    class_: str,
    height: float = STRIP,
    *,
    title: str,
) -> Markup:
    """Dot and whisker on a shared axis, with a tooltip."""
    parts = _upright(axis, height) + whisker(axis, ends, height / 2, class_, caps=4)
    if known(mean):
        parts.append(marker(axis.x(mean), height / 2, shape, class_))
    return strip(parts, height, title)


def pair_strip(axis: Axis, filled: Score, hollow: Score, shape: str, class_: str, *, title: str) -> Markup:
    """Two scores of one arm joined by a line, the second one hollow; their intervals run above and below it."""
    parts, middle = _upright(axis, STRIP), STRIP / 2
    parts += whisker(axis, spread(filled.interval), middle - 9, f"thin {class_}")
    parts += whisker(axis, spread(hollow.interval), middle + 9, f"thin {class_}")
    if known(filled.mean) and known(hollow.mean):
        parts.append(line(axis.x(filled.mean), middle, axis.x(hollow.mean), middle, f"whisker {class_}"))
    for score, kind in ((filled, class_), (hollow, f"{class_} open")):
        if known(score.mean):
            parts.append(marker(axis.x(score.mean), middle, shape, kind))
    return strip(parts, STRIP, title)


def axis_strip(axis: Axis) -> Markup:
    """The numbers under a column of strips."""
    return strip([label(axis.x(tick), 12, axis.write(tick)) for tick in axis.ticks], 18)


def change_scale(verdicts: Iterable[SuiteVerdict]) -> Axis:
    """One axis for all changes of a table, their intervals, their margins and 0: equal lengths are equal changes."""
    shown = [v for v in verdicts if v.verdict != "Not measurable"]
    ends = [end for v in shown for end in (v.change, -v.margin, *(spread(v.interval) or ()))]
    return Axis.around([0.0, *ends], change_tick, wanted=4)


def change_strip(axis: Axis, verdict: SuiteVerdict) -> Markup:
    """Change and interval of one suite; shaded: what may be lost, from minus the margin to the line at 0."""
    middle = CHANGE / 2
    if verdict.margin <= 0 or not known(verdict.change):
        return Markup("")
    class_ = "v-" + verdict.verdict.lower().replace(" ", "-")
    parts = [
        _zone(axis, verdict.margin, CHANGE),
        *_upright(axis, CHANGE),
        *whisker(axis, spread(verdict.interval), middle, class_),
        marker(axis.x(verdict.change), middle, "circle", f"dot {class_}"),
    ]
    unit = change_unit(verdict)
    title = (
        f"{verdict.suite}: {change_text(verdict.change)} {unit} ({change_interval(verdict.interval)}), "
        f"margin {change_tick(verdict.margin).lstrip('+')} {unit}, {verdict.verdict}"
    )
    return strip(parts, CHANGE, title, "strip change")


def change_axis_strip(axis: Axis, margin: float) -> Markup:
    """The numbers of a column of changes, and the name of the zone above them.

    Args:
        margin: the largest of the column.
    """
    left, right = axis.x(-margin), axis.x(0)
    at, anchor = (right, "end") if right > 50 else (left, "start")
    numbers = [label(axis.x(tick), 30, axis.write(tick)) for tick in axis.ticks]
    return strip(
        [_zone(axis, margin, 4, top=14), label(at, 11, "margin", "tick", anchor), *numbers], 34, class_="strip change"
    )


def _zone(axis: Axis, margin: float, height: float, top: float = 0.0) -> Markup:
    left, right = axis.x(-margin), axis.x(0)
    return element("rect", x=percent(left), y=top, width=percent(right - left), height=height, class_="zone")


def bar(value: float, largest: float, chosen: bool) -> Markup:
    """A bar from zero; never thinner than a hair, so that a small value stays visible."""
    width = 100 * value / largest if largest > 0 else 0.0
    parts = [element("rect", x=0, y=0, width="100%", height=6, class_="track")]
    if value > 0:
        class_ = "bar chosen" if chosen else "bar"
        parts.append(element("rect", x=0, y=0, width=percent(max(width, 0.6)), height=6, class_=class_))
    return strip(parts, 6)


def scatter(
    points: Sequence[Point],
    frame: Frame,
    *,
    description: str,
    path: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Markers with their intervals and names.

    Args:
        path: values joined by a dashed line (the Pareto set, or the prompting arms by shots).
    """
    parts = [*frame.grid(), frame.join(path, "path")]
    for p in points:
        parts += [line(*frame.at(*a), *frame.at(*b), f"whisker thin {p.class_}") for a, b in p.whiskers]
    parts += [marker(*frame.at(p.x, p.y), p.shape, p.class_, p.title) for p in points]
    for class_, width in (("names-wide", WIDE), ("names-narrow", NARROW)):
        parts.append(element("g", *_names(frame, points, path, width), class_=class_))
    return Markup('<div class="room">{}</div>').format(frame.figure(parts, description, "chart sized"))


def _names(frame: Frame, points: Sequence[Point], path: Sequence[tuple[float, float]], width: float) -> list[Markup]:
    """The names, placed for a plot of that width; one that had to go far away is tied to its marker."""
    drawn = [*frame.segments(path, width), *frame.levels(width)]
    drawn += [segment for p in points for ends in p.whiskers for segment in frame.segments(ends, width)]
    groups = _together(frame, points, width)
    names = ["\n".join(line for p in group for line in textwrap.wrap(p.name, NAME)) for group in groups]
    pixels = [frame.pixels(group[0].x, group[0].y, width) for group in groups]
    others = [frame.pixels(p.x, p.y, width) for group in groups for p in group[1:]]
    bold = [_bold(group) for group in groups]
    boxes = place(pixels, names, width, frame.height, drawn, others, bold)
    placed = list(zip(groups, names, pixels, boxes, strict=True))
    return [_leader(frame.at(group[0].x, group[0].y)[0], at, box) for group, _, at, box in placed] + [
        _name(frame, group, name, at, box) for group, name, at, box in placed
    ]


def _together(frame: Frame, points: Sequence[Point], width: float) -> list[list[Point]]:
    """Points whose markers lie on each other have their names in one label."""
    groups: list[list[Point]] = []
    for p in points:
        here = frame.pixels(p.x, p.y, width)
        near = (g for g in groups if math.dist(here, frame.pixels(g[0].x, g[0].y, width)) < TOGETHER)
        group = next(near, None)
        if group is None:
            groups.append([p])
        else:
            group.append(p)
    return groups


def _name(frame: Frame, group: Sequence[Point], name: str, at: tuple[float, float], box: Box) -> Markup:
    x = percent(frame.at(group[0].x, group[0].y)[0])
    lines = [
        element("tspan", text, x=x, dx=box[0] - at[0], y=box[1] + LINE * number + 11.5)
        for number, text in enumerate(name.split("\n"))
    ]
    return element("text", *lines, class_="name chosen" if _bold(group) else "name")


def _bold(group: Sequence[Point]) -> bool:
    """The recommended arm's name stands out."""
    return any("chosen" in p.class_ for p in group)


def _leader(x: float, at: tuple[float, float], box: Box) -> Markup:
    """A dotted line from a marker to a name that had to go far away; nothing for a name that is near."""
    tie = leader(at, box)
    if tie is None:
        return Markup("")
    across, down = tie[2] - at[0], tie[3] - at[1]
    start = BESIDE / math.hypot(across, down)
    path = element("line", x1=start * across, y1=at[1] + start * down, x2=across, y2=tie[3], class_="leader")
    return element("svg", path, x=percent(x), y=0, width=1, height=1, overflow="visible")
