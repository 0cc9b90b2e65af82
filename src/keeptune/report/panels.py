"""Small multiples: a chart per arm on axes that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.report.frame import Frame
from keeptune.report.labels import place_free
from keeptune.report.svg import element, label, line, marker

HEIGHT = 170.0  # of a panel, pixels
NARROWEST = 215.0  # width for which small labels are placed; in a wider panel they are further apart


@dataclass(frozen=True)
class Panel:
    """One small chart with its heading."""

    title: str
    caption: str
    chart: Markup


@dataclass(frozen=True)
class Spot:
    """A marker of a panel, with a small name where there is room."""

    x: float
    y: float
    shape: str
    class_: str
    title: str  # tooltip
    name: str = ""
    ring: bool = False  # stands out without colour


def spots(frame: Frame, places: Sequence[Spot]) -> list[Markup]:
    """Markers, rings, and as many small names as find room; earlier spots lie on top and are named first."""
    parts = [
        marker(*frame.at(s.x, s.y), shape, class_, s.title)
        for s in reversed(places)
        for shape, class_ in ((("ring", "ring"),) if s.ring else ()) + ((s.shape, s.class_),)
    ]
    named = [s for s in places if s.name]
    pixels = [_pixels(frame, s) for s in named]
    others = [_pixels(frame, s) for s in places if not s.name]
    boxes = place_free(pixels, [s.name for s in named], NARROWEST, frame.height, others)
    for s, pixel, box in zip(named, pixels, boxes, strict=True):
        if box:
            x = frame.at(s.x, s.y)[0]
            parts.append(label(x, box[3] - 4, s.name, "tick name", "start", box[0] - pixel[0]))
    return parts


def _pixels(frame: Frame, spot: Spot) -> tuple[float, float]:
    x, y = frame.at(spot.x, spot.y)
    return x * NARROWEST / 100, y


def band(frame: Frame, low: float, high: float, middle: float, name: str) -> list[Markup]:
    """A horizontal band with its middle and its name: the level to beat."""
    top, bottom = frame.at(frame.x_axis.low, high)[1], frame.at(frame.x_axis.low, low)[1]
    area = element("rect", x=0, y=top, width="100%", height=max(bottom - top, 1.0), class_="band")
    above = top - 4 if top > 18 else bottom + 13
    return [area, frame.across(middle, "margin"), label(99, above, name, "tick name", "end")]


def upright_mark(frame: Frame, x: float, name: str) -> list[Markup]:
    """A dashed line at one x, named at its top."""
    place = frame.x_axis.x(x)
    anchor, dx = ("end", -4.0) if place > 60 else ("start", 4.0)
    return [line(place, 0, place, frame.height, "margin"), label(place, 12, name, "tick name", anchor, dx)]
