"""Small multiples: a chart per arm on axes that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.report.frame import Frame
from keeptune.report.labels import Segment, place_free
from keeptune.report.svg import element, label, line, marker

HEIGHT = 170.0  # of a panel, pixels
HEAD = 16.0  # room for the name of an upright line
WIDTH = 280.0  # of a panel with names, pixels; style.css has it too


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


def spots(frame: Frame, places: Sequence[Spot], lines: Sequence[Segment] = ()) -> list[Markup]:
    """Markers, rings, and as many small names as find room; earlier spots lie on top and are named first.

    ``lines`` are what no name should lie on, in pixels of a panel of `WIDTH`.
    """
    parts = [
        marker(*frame.at(s.x, s.y), shape, class_, s.title)
        for s in reversed(places)
        for shape, class_ in ((("ring", "ring"),) if s.ring else ()) + ((s.shape, s.class_),)
    ]
    named = [s for s in places if s.name]
    pixels = [frame.pixels(s.x, s.y, WIDTH) for s in named]
    others = [frame.pixels(s.x, s.y, WIDTH) for s in places if not s.name]
    crossed = [*lines, *frame.levels(WIDTH)]
    boxes = place_free(pixels, [s.name for s in named], WIDTH, frame.height, others, crossed)
    for s, pixel, box in zip(named, pixels, boxes, strict=True):
        if box:
            x = frame.at(s.x, s.y)[0]
            parts.append(label(x, box[3] - 4, s.name, "tick name", "start", box[0] - pixel[0]))
    return parts


def band(frame: Frame, low: float, high: float, middle: float) -> list[Markup]:
    """A horizontal band with its middle: the level to beat."""
    top, bottom = frame.at(frame.x_axis.low, high)[1], frame.at(frame.x_axis.low, low)[1]
    area = element("rect", x=0, y=top, width="100%", height=max(bottom - top, 1.0), class_="band")
    return [area, frame.across(middle, "margin")]


def upright_mark(frame: Frame, x: float, name: str) -> list[Markup]:
    """A dashed line at one x, with its name above it, in the head of the frame."""
    place = frame.x_axis.x(x)
    anchor = "end" if place > 60 else "start"
    return [line(place, frame.head, place, frame.height, "margin"), label(place, 11, name, "tick name", anchor)]
