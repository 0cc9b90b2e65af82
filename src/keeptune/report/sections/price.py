"""The price of keeping: every model that a search looked at, by the margin that it needs and its target score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import SearchPoint, SearchSummary, Summary
from keeptune.core.units import minus
from keeptune.report.arms import target_axis
from keeptune.report.formatting import (
    metric_number,
    metric_title,
    size_text,
)
from keeptune.report.frame import Frame
from keeptune.report.panels import HEAD, WIDTH, Spot, spots, upright_mark
from keeptune.report.plots import PLOT
from keeptune.report.svg import Axis

SHOWN = 6.0  # margins: models that need more are counted


@dataclass(frozen=True)
class PriceRow:
    """One step of the frontier in words."""

    label: str
    target: str
    margins: str
    binding: str  # the suite that needs most
    found: bool


@dataclass(frozen=True)
class Price:
    """The chart, the frontier in words, and what the search says of it."""

    chart: Markup
    rows: tuple[PriceRow, ...]
    sentences: tuple[str, ...]
    looked: int  # models
    hidden: int  # of which need more margin than is drawn
    between: bool  # some are points between base and tuned model


def price(summary: Summary) -> Price | None:
    """What the search found, or None where there was none; without points where there was nothing to search."""
    search = summary.search
    if search is None:
        return None
    alive = [point for point in search.points if not point.diverged]
    shown = [point for point in alive if point.worst <= SHOWN]
    front = [point for name in search.front for point in alive if point.name == name]
    return Price(
        chart=_chart(search, shown, front, summary.metric) if shown else Markup(""),
        rows=tuple(_row(search, point, summary.metric) for point in front),
        sentences=search.sentences,
        looked=len(alive),
        hidden=len(alive) - len(shown),
        between=any(point.alpha is not None for point in shown),
    )


def _chart(search: SearchSummary, shown: Sequence[SearchPoint], front: Sequence[SearchPoint], metric: str) -> Markup:
    x_axis = Axis.around([0.0, 1.0, *(point.worst for point in shown)], lambda value: minus(f"{value:.4g}"))
    y_axis = target_axis([search.base, *(point.target for point in shown)], metric)
    title = metric_title(metric)
    frame = Frame(x_axis, y_axis, PLOT, "margin that a model needs, in margins", title, head=HEAD)
    way = [(point.worst, point.target) for point in front if point.worst <= SHOWN]
    parts = [*frame.grid(), *upright_mark(frame, 1.0, "your margins"), frame.join(way, "path")]
    order = sorted(shown, key=lambda point: (point.name != search.found, point not in front))
    found = [_spot(search, point, point in front, metric) for point in order]
    parts += spots(frame, found, frame.segments(way, WIDTH))
    description = "Target score against the margin that a model needs, in margins, validation items"
    return frame.figure(parts, description, "chart small")


def _spot(search: SearchSummary, point: SearchPoint, on_front: bool, metric: str) -> Spot:
    found = point.name == search.found
    title = f"{point.label}: {metric_number(point.target, metric)}, needs {_margins(point)} ({_binding(search, point)})"
    class_ = "dot chosen" if found else "dot" if on_front else "dot soft"
    shape = "rhomb" if point.alpha is not None else "circle"
    return Spot(point.worst, point.target, shape, class_, title, "found" if found else "", found)


def _row(search: SearchSummary, point: SearchPoint, metric: str) -> PriceRow:
    return PriceRow(
        label=point.label,
        target=metric_number(point.target, metric),
        margins=_margins(point),
        binding=_binding(search, point),
        found=point.name == search.found,
    )


def _margins(point: SearchPoint) -> str:
    return f"{minus(f'{point.worst:.1f}')} margins"


def _binding(search: SearchSummary, point: SearchPoint) -> str:
    """'category, 4.1 of 3 points': the suite that needs the largest margin, and how much of it."""
    worst = point.binding(search.spare)
    unit = "%" if worst.relative else "points"
    return f"{worst.suite}, {minus(size_text(worst.needed(search.spare)))} of {size_text(worst.margin)} {unit}"
