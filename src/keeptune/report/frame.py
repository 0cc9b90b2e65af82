"""The plotting area that all charts with two axes share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.report.formatting import clip
from keeptune.report.labels import Segment
from keeptune.report.svg import Axis, element, label, line, polyline

BELOW = 24.0  # room for the tick labels under a plot, pixels
APART = 13.0  # between the middles of two numbers of the y axis, pixels


@dataclass(frozen=True)
class Frame:
    """Places values, draws the grid under them and the numbers and titles around them.

    ``margin`` is what may be lost, where y is a change: the zone between 0 and minus the margin is shaded, and named
    on the axis.
    """

    x_axis: Axis
    y_axis: Axis
    height: float  # pixels
    x_title: str
    y_title: str
    inset: float = 6.0  # pixels kept free above and below
    head: float = 0.0  # pixels above that, for the name of an upright line
    margin: float | None = None

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Per cent of the width and pixels from the top."""
        top = self.head + self.inset
        return self.x_axis.x(x), self.y_axis.y(y, top, self.height - self.inset - top)

    def pixels(self, x: float, y: float, width: float) -> tuple[float, float]:
        """The place in a plot that is so many pixels wide."""
        across, down = self.at(x, y)
        return across * width / 100, down

    def segments(self, values: Sequence[tuple[float, float]], width: float) -> list[Segment]:
        """The pieces of a broken line through values, in a plot that is so many pixels wide."""
        return [(*a, *b) for a, b in itertools.pairwise(self.pixels(x, y, width) for x, y in values)]

    def levels(self, width: float) -> list[Segment]:
        """The lines at 0 and at the margin, for labels to stay off."""
        drawn = [level for level in (0.0, -(self.margin or 0.0)) if self.y_axis.low < level < self.y_axis.high]
        return [(0.0, down, width, down) for level in drawn for down in [self.at(self.x_axis.low, level)[1]]]

    def grid(self, *, upright: bool = True) -> list[Markup]:
        """The zone of the margin, lines at the ticks, a stronger one at y = 0."""
        parts = self._zone()
        if upright:
            parts += [line(self.x_axis.x(t), 0, self.x_axis.x(t), self.height, "grid") for t in self.x_axis.ticks]
        parts += [self.across(tick, "grid") for tick in self.y_axis.ticks]
        if self.y_axis.low < 0 < self.y_axis.high:
            parts.append(self.across(0, "zero"))
        if self.margin:
            parts.append(self.across(-self.margin, "margin"))
        return parts

    def _zone(self) -> list[Markup]:
        if not self.margin:
            return []
        top, bottom = self.at(self.x_axis.low, 0)[1], self.at(self.x_axis.low, -self.margin)[1]
        return [element("rect", x=0, y=top, width="100%", height=max(bottom - top, 1.0), class_="zone")]

    def across(self, y: float, class_: str) -> Markup:
        """A line over the whole width; nothing where y is outside."""
        if not self.y_axis.low <= y <= self.y_axis.high:
            return Markup("")
        pixel = self.at(self.x_axis.low, y)[1]
        return line(0, pixel, 100, pixel, class_)

    def join(self, values: Sequence[tuple[float, float]], class_: str) -> Markup:
        """A line through values; nothing where there are none."""
        return polyline([self.at(x, y) for x, y in values], self.height, class_) if values else Markup("")

    def upright(self, x: float, low: float, high: float, class_: str) -> Markup:
        """An interval of y at one x."""
        return line(*self.at(x, low), *self.at(x, high), class_)

    def figure(self, parts: Sequence[Markup], description: str, class_: str = "chart") -> Markup:
        """The finished chart: plot, numbers and title under it, and those of the y axis to the left and above."""
        below = [label(self.x_axis.x(t), self.height + 17, self.x_axis.write(t)) for t in self.x_axis.ticks]
        height = self.height + BELOW
        plot = element(
            "svg", *parts, *below, class_="plot", height=height, role="img", aria_label=clip(description, 300)
        )
        ticks = [
            element("text", text, x=44, y=middle + 4, class_="tick", text_anchor="end")
            for middle, text in self._numbers()
        ]
        scale = element("svg", *ticks, class_="scale", width=48, height=height, aria_hidden="true")
        return Markup('<div class="{}"><p class="axis">↑ {}</p>{}{}<p class="axis under">{} →</p></div>').format(
            class_, self.y_title, scale, plot, self.x_title
        )

    def _numbers(self) -> list[tuple[float, str]]:
        """(pixels from the top, text) along the y axis; the margin's name takes the place of numbers near it."""
        ticks = [(self.at(self.x_axis.low, tick)[1], self.y_axis.write(tick)) for tick in self.y_axis.ticks]
        if not self.margin or not self.y_axis.low <= -self.margin:
            return ticks
        zero = next((place for place, text in ticks if text == "0"), -APART)
        name = max(self.at(self.x_axis.low, -self.margin)[1], zero + APART)
        return [(place, text) for place, text in ticks if abs(place - name) >= APART] + [(name, "margin")]
