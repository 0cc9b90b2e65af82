"""The plotting area that all charts with two axes share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.report.formatting import clip
from keeptune.report.svg import Axis, element, label, line, polyline

BELOW = 24.0  # room for the tick labels under a plot, pixels


@dataclass(frozen=True)
class Frame:
    """Places values, draws the grid under them and the numbers around them."""

    x_axis: Axis
    y_axis: Axis
    height: float  # pixels
    inset: float = 6.0  # pixels kept free above and below

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Per cent of the width and pixels from the top."""
        return self.x_axis.x(x), self.y_axis.y(y, self.inset, self.height - 2 * self.inset)

    def grid(self, *, upright: bool = True) -> list[Markup]:
        """Lines at the ticks, a stronger one at y = 0."""
        parts = []
        if upright:
            parts = [line(self.x_axis.x(t), 0, self.x_axis.x(t), self.height, "grid") for t in self.x_axis.ticks]
        parts += [self.across(tick, "grid") for tick in self.y_axis.ticks]
        if self.y_axis.low < 0 < self.y_axis.high:
            parts.append(self.across(0, "zero"))
        return parts

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

    def figure(self, parts: Sequence[Markup], description: str) -> Markup:
        """The finished chart: plot, numbers under it, and the numbers of the y axis in a column of their own."""
        below = [label(self.x_axis.x(t), self.height + 17, self.x_axis.write(t)) for t in self.x_axis.ticks]
        height = self.height + BELOW
        plot = element(
            "svg", *parts, *below, class_="plot", height=height, role="img", aria_label=clip(description, 300)
        )
        ticks = [
            element(
                "text",
                self.y_axis.write(tick),
                x=44,
                y=self.at(self.x_axis.low, tick)[1] + 4,
                class_="tick",
                text_anchor="end",
            )
            for tick in self.y_axis.ticks
        ]
        scale = element("svg", *ticks, class_="scale", width=48, height=height, aria_hidden="true")
        return Markup('<div class="chart">{}{}</div>').format(scale, plot)
