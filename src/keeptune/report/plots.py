"""The charts of the report, as inline SVG: interval strips, bars, scatters and loss curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import Score, StepRecord, SuiteVerdict, ValidationRecord
from keeptune.report.labels import Box, place
from keeptune.report.svg import Axis, element, label, line, marker, percent, polyline
from keeptune.report.wording import clip, known

STRIP = 34.0  # height of one row of a dot chart, pixels
PLOT = 300.0  # height of a scatter, pixels
BELOW = 24.0  # room for the tick labels under a plot, pixels
WIDE, NARROW = 440.0, 250.0  # widths for which labels are placed; a media query shows one of the two sets
MARGINS_BELOW, MARGINS_ABOVE = 4.0, 2.5  # a change strip spans -4 to +2.5 margins
CURVE = 150.0  # height of a loss chart, pixels
CURVE_POINTS = 240  # a longer curve is thinned to this many points


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


def score_strip(axis: Axis, score: Score, shape: str, class_: str, height: float = STRIP) -> Markup:
    """Dot and whisker of one arm on a shared axis."""
    middle, low, high = height / 2, score.interval.low, score.interval.high
    parts = [line(axis.x(tick), 0, axis.x(tick), height, "grid") for tick in axis.ticks]
    parts.append(line(axis.x(low), middle, axis.x(high), middle, f"whisker {class_}"))
    parts += [line(axis.x(end), middle - 4, axis.x(end), middle + 4, f"whisker {class_}") for end in (low, high)]
    parts.append(marker(axis.x(score.mean), middle, shape, class_))
    return element("svg", *parts, class_="strip", height=height, aria_hidden="true")


def axis_strip(axis: Axis) -> Markup:
    """The numbers under a column of score strips."""
    ticks = [label(axis.x(tick), 12, axis.write(tick)) for tick in axis.ticks]
    return element("svg", *ticks, class_="strip", height=18, aria_hidden="true")


def change_strip(verdict: SuiteVerdict) -> Markup:
    """Change and interval of one suite in units of its margin: solid line at 0, dashed line at minus the margin.

    An interval that leaves the strip ends in an arrow head.
    """
    interval, middle = verdict.interval, 9.0
    if verdict.margin <= 0 or not known(verdict.change):
        return Markup("")
    axis = Axis(-MARGINS_BELOW, MARGINS_ABOVE, (), str)
    parts = [
        line(axis.x(0), 0, axis.x(0), 18, "zero"),
        line(axis.x(-1), 0, axis.x(-1), 18, "margin"),
    ]
    class_ = "v-" + verdict.verdict.lower().replace(" ", "-")
    if interval is not None and known(interval.low) and known(interval.high):
        low, high = interval.low / verdict.margin, interval.high / verdict.margin
        parts.append(line(axis.x(low), middle, axis.x(high), middle, f"whisker {class_}"))
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
    faint: Sequence[Point],
    x_axis: Axis,
    y_axis: Axis,
    *,
    description: str,
    path: Sequence[tuple[float, float]] = (),
    level: float | None = None,
) -> Markup:
    """Markers with their intervals and names; `faint` points have neither.

    Args:
        path: values joined by a dashed line (the Pareto set, or the prompting arms by shots).
        level: a value of y with a dashed line across (the margin, where all suites share one).
    """

    def at(x: float, y: float) -> tuple[float, float]:
        return x_axis.x(x), y_axis.y(y, 8, PLOT - 16)

    parts = [line(x_axis.x(tick), 0, x_axis.x(tick), PLOT, "grid") for tick in x_axis.ticks]
    parts += [line(0, at(0, tick)[1], 100, at(0, tick)[1], "grid") for tick in y_axis.ticks]
    if y_axis.low < 0 < y_axis.high:
        parts.append(line(0, at(0, 0)[1], 100, at(0, 0)[1], "zero"))
    if level is not None and y_axis.low <= level <= y_axis.high:
        parts.append(line(0, at(0, level)[1], 100, at(0, level)[1], "margin"))
    if len(path) > 1:
        parts.append(polyline([at(x, y) for x, y in path], PLOT, "path"))
    parts += [marker(*at(p.x, p.y), p.shape, f"{p.class_} faint", p.title) for p in faint]
    for p in points:
        for x, y in ((p.x_range, None), (None, p.y_range)):
            ends = [at(end, p.y) for end in x] if x else [at(p.x, end) for end in y] if y else []
            if ends:
                parts.append(line(*ends[0], *ends[1], f"whisker thin {p.class_}"))
    parts += [marker(*at(p.x, p.y), p.shape, p.class_, p.title) for p in points]
    avoid = [*_along([at(x, y) for x, y in path]), *(at(p.x, p.y) for p in faint)]
    parts += _names(points, [at(p.x, p.y) for p in points], avoid)
    parts += [label(x_axis.x(tick), PLOT + 17, x_axis.write(tick)) for tick in x_axis.ticks]
    plot = element("svg", *parts, class_="plot", height=PLOT + BELOW, role="img", aria_label=description)
    return _with_scale(plot, y_axis, [at(0, tick)[1] for tick in y_axis.ticks], PLOT + BELOW)


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


def _with_scale(plot: Markup, axis: Axis, places: Sequence[float], height: float) -> Markup:
    """A plot with the numbers of its y axis in a column of their own."""
    ticks = [
        element("text", axis.write(tick), x=44, y=y + 4, class_="tick", text_anchor="end")
        for tick, y in zip(axis.ticks, places, strict=True)
    ]
    scale = element("svg", *ticks, class_="scale", width=48, height=height, aria_hidden="true")
    return Markup('<div class="chart">{}{}</div>').format(scale, plot)


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Centred running mean, for display only."""
    half = window // 2
    means = []
    for index in range(len(values)):
        part = values[max(index - half, 0) : index + half + 1]
        means.append(sum(part) / len(part))
    return means


def loss_axis(steps: Sequence[StepRecord], validation: Sequence[ValidationRecord]) -> list[float]:
    """The values that a loss axis must hold: the smoothed curve and every validation loss."""
    losses = [record.loss for record in steps if math.isfinite(record.loss)]
    return _smoothed(losses) + [record.loss for record in validation if math.isfinite(record.loss)]


def loss_chart(
    steps: Sequence[StepRecord], validation: Sequence[ValidationRecord], y_axis: Axis, description: str
) -> Markup:
    """Training loss (faint: every step, strong: running mean) and validation loss (markers, best one filled)."""
    finite = [record for record in steps if math.isfinite(record.loss)]
    every = [float(record.step) for record in finite] + [float(record.step) for record in validation]
    x_axis = Axis.around([0.0, *every], lambda value: f"{value:,.0f}", wanted=4)

    def at(step: float, loss: float) -> tuple[float, float]:
        return x_axis.x(step), y_axis.y(loss, 4, CURVE - 8)

    parts = [line(0, at(0, tick)[1], 100, at(0, tick)[1], "grid") for tick in y_axis.ticks]
    raw = [record.loss for record in finite]
    for class_, losses in (("curve faint", raw), ("curve", _smoothed(raw))):
        curve = [at(record.step, loss) for record, loss in zip(finite, losses, strict=True)]
        parts.append(polyline(_thin(curve), CURVE, class_))
    valid = [record for record in validation if math.isfinite(record.loss)]
    parts.append(polyline([at(record.step, record.loss) for record in valid], CURVE, "path"))
    # the loop marks every improvement; the last of them is the checkpoint that was kept
    kept = max((record.step for record in valid if record.best), default=None)
    for record in valid:
        class_ = "dot chosen" if record.step == kept else "dot open chosen"
        title = f"step {record.step}: validation loss {record.loss:.3f}"
        parts.append(marker(*at(record.step, record.loss), "circle", class_, title))
    parts += [label(x_axis.x(tick), CURVE + 17, x_axis.write(tick)) for tick in x_axis.ticks]
    plot = element("svg", *parts, class_="plot", height=CURVE + BELOW, role="img", aria_label=clip(description, 300))
    return _with_scale(plot, y_axis, [at(0, tick)[1] for tick in y_axis.ticks], CURVE + BELOW)


def _smoothed(losses: Sequence[float]) -> list[float]:
    return smooth(losses, max(3, len(losses) // 20))


def _thin(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    every = max(1, math.ceil(len(curve) / CURVE_POINTS))
    return [*curve[::every], *curve[-1:]]
