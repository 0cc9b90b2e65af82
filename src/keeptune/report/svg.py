"""Small pieces of SVG: an element, an axis, a marker.

Charts have no viewBox: x is in per cent and y in pixels, so that a chart takes the width it is given while
its type and markers keep their size. Colours are CSS classes, because they differ in dark and light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

INSET = 3.0  # per cent of the width kept free on both sides, so that markers at the ends stay whole

SHAPES = {
    "circle": "M-5 0A5 5 0 1 1 5 0A5 5 0 1 1 -5 0Z",
    "square": "M-4.5 -4.5H4.5V4.5H-4.5Z",
    "diamond": "M0 -6.2L6.2 0L0 6.2L-6.2 0Z",
    "triangle": "M0 -6L5.8 4.6H-5.8Z",
    "bead": "M-2.6 0A2.6 2.6 0 1 1 2.6 0A2.6 2.6 0 1 1 -2.6 0Z",
    "rhomb": "M0 -4.4L4.4 0L0 4.4L-4.4 0Z",
    "ring": "M-9 0A9 9 0 1 1 9 0A9 9 0 1 1 -9 0Z",
}


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One SVG element. `class_` becomes class, other underscores become hyphens; None leaves an attribute out."""
    parts = []
    for key, value in attributes.items():
        if value is None:
            continue
        text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"')
    body = Markup("").join(escape(child) for child in children)
    return Markup(f"<{name}{''.join(parts)}>") + body + Markup(f"</{name}>")


def percent(value: float) -> str:
    """A coordinate along the width."""
    return f"{value:.2f}%"


def tick_step(low: float, high: float, wanted: int) -> float:
    """A step of 1, 2, 2.5 or 5 times a power of ten that gives about `wanted` ticks."""
    raw = (high - low) / max(wanted, 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return next(m * magnitude for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * magnitude >= raw * 0.999)


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with round ticks; `write` turns a tick into text."""

    low: float
    high: float
    ticks: tuple[float, ...]
    write: Callable[[float], str]

    @staticmethod
    def around(values: Sequence[float], write: Callable[[float], str], *, wanted: int = 5) -> Axis:
        """An axis that holds all finite values with a little room; one value gets room of its own."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        room = 0.04 * (high - low) or max(abs(high) * 0.1, 0.01)
        floor = 0.0 if low >= 0 else -math.inf
        low, high = max(low - room, floor), high + room
        step = tick_step(low, high, wanted)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return Axis(low, high, tuple(index * step for index in range(first, last + 1)), write)

    def fraction(self, value: float) -> float:
        """Place of a value between the ends, clipped to [0, 1]."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def x(self, value: float) -> float:
        """Place along the width in per cent."""
        return INSET + (100 - 2 * INSET) * self.fraction(value)

    def y(self, value: float, top: float, height: float) -> float:
        """Place in pixels; larger values are higher."""
        return top + height * (1 - self.fraction(value))


def marker(x: float, y: float, shape: str, class_: str, title: str | None = None) -> Markup:
    """A shape at x per cent and y pixels, with an optional tooltip that a finger can hit."""
    path = element("path", d=SHAPES[shape], class_=class_)
    told = [element("title", title), element("circle", r=11, class_="hit")] if title else []
    return element("svg", *told, path, x=percent(x), y=y, width=1, height=1, overflow="visible")


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line; x in per cent, y in pixels."""
    return element("line", x1=percent(x1), y1=y1, x2=percent(x2), y2=y2, class_=class_)


def label(x: float, y: float, text: str, class_: str = "tick", anchor: str = "middle", dx: float = 0) -> Markup:
    """A text at x per cent (moved by `dx` pixels) and y pixels."""
    return element("text", text, x=percent(x), y=y, dx=dx or None, class_=class_, text_anchor=anchor)


def strip(parts: Sequence[Markup], height: float, title: str | None = None, class_: str = "strip") -> Markup:
    """A row of a dot chart; its numbers stand beside it and in its tooltip."""
    told = [element("title", title), element("rect", width="100%", height=height, class_="hit")] if title else []
    return element("svg", *told, *parts, class_=class_, height=height, aria_hidden="true")


def polyline(points: Sequence[tuple[float, float]], height: float, class_: str) -> Markup:
    """A line through (x in per cent, y in pixels) that stretches with the width while its stroke does not."""
    path = " ".join(f"{x:.2f},{y:.1f}" for x, y in points)
    shape = element("polyline", points=path, class_=class_, vector_effect="non-scaling-stroke")
    return element(
        "svg", shape, x=0, y=0, width="100%", height=height, viewBox=f"0 0 100 {height:g}", preserveAspectRatio="none"
    )
