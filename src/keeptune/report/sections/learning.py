"""How many examples are enough: target score by the size of the training data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import CurvePoint, LearningCurve, Summary
from keeptune.report.arms import target_axis
from keeptune.report.formatting import (
    known,
    metric_number,
    metric_title,
    score_text,
)
from keeptune.report.frame import Frame
from keeptune.report.panels import HEAD, HEIGHT, Panel, Spot, band, spots, upright_mark
from keeptune.report.plots import spread
from keeptune.report.svg import Axis

CROWDED = 0.11  # of the axis: closer numbers are left out


@dataclass(frozen=True)
class Learning:
    """A panel per arm with its sentence, and the points in words."""

    panels: tuple[tuple[Panel, LearningCurve], ...]
    n: int  # test items of the first point


def learning(summary: Summary) -> Learning | None:
    """The learning curves that have more than one point, on one scale of scores."""
    curves = [(curve, points) for curve in summary.curves if len(points := _points(curve)) > 1]
    if not curves:
        return None
    scores = [p.score for _, points in curves for p in points]
    scores += [curve.prompting for curve, _ in curves if curve.prompting is not None]
    values = [end for s in scores for end in (s.mean, *(spread(s.interval) or ()))]
    y_axis = target_axis(values, summary.metric, wanted=4)
    title = metric_title(summary.metric)
    panels = []
    for curve, points in curves:
        panels.append((Panel(curve.label, _caption(curve, points), _chart(curve, points, y_axis, title)), curve))
    return Learning(tuple(panels), scores[0].n)


def _caption(curve: LearningCurve, points: list[CurvePoint]) -> str:
    """'5 sizes; 500 are enough; band: best prompting 12.6'."""
    parts = [f"{len(points)} sizes"]
    if curve.enough is not None:
        parts.append(f"{curve.enough:,} are enough")
    if curve.prompting is not None and known(curve.prompting.mean):
        parts.append(f"band: best prompting {metric_number(curve.prompting.mean, curve.prompting.metric)}")
    return "; ".join(parts)


def _points(curve: LearningCurve) -> list[CurvePoint]:
    """Points with a score, by size."""
    known_points = [p for p in curve.points if p.examples > 0 and p.score.n > 0 and known(p.score.mean)]
    return sorted(known_points, key=lambda p: p.examples)


def sizes_axis(sizes: list[int]) -> Axis:
    """A logarithmic axis with the measured sizes as ticks; of two that would touch the larger one is named."""
    places = [math.log10(size) for size in sizes]
    room = 0.06 * (places[-1] - places[0]) or 0.3
    low, high = places[0] - room, places[-1] + room
    ticks: list[float] = []
    for place in reversed(places):
        if not ticks or ticks[-1] - place > CROWDED * (high - low):
            ticks.append(place)
    return Axis(low, high, tuple(reversed(ticks)), lambda value: f"{10**value:,.0f}")


def _chart(curve: LearningCurve, points: list[CurvePoint], y_axis: Axis, title: str) -> Markup:
    sizes = sizes_axis([p.examples for p in points])
    frame = Frame(sizes, y_axis, HEIGHT + HEAD, "training examples, logarithmic", title, head=HEAD)
    parts = frame.grid(upright=False)
    if curve.prompting is not None and known(curve.prompting.mean):
        low, high = spread(curve.prompting.interval) or (curve.prompting.mean, curve.prompting.mean)
        parts += band(frame, low, high, curve.prompting.mean)
    if curve.enough is not None and curve.enough > 0:
        parts += upright_mark(frame, math.log10(curve.enough), f"enough: {curve.enough:,}")
    parts.append(frame.join([(math.log10(p.examples), p.score.mean) for p in points], "curve"))
    marks = []
    for p in points:
        x, ends = math.log10(p.examples), spread(p.score.interval)
        if ends:
            parts.append(frame.upright(x, *ends, "whisker"))
        title = f"{p.examples:,} examples: {score_text(p.score)}, n = {p.score.n:,}"
        marks.append(Spot(x, p.score.mean, "circle", "dot", title))
    return frame.figure(parts + spots(frame, marks), f"Target score by number of training examples, {curve.label}")
