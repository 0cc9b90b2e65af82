"""What the arms cost: five trade-offs, the table, and what the shots of prompting cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import Costs
from keeptune.core.units import human_bytes, human_count, human_seconds
from keeptune.report.arms import MANY, ArmView, ran, score_axis, scored
from keeptune.report.formatting import (
    MISSING,
    count,
    known,
    metric_name,
    metric_number,
    metric_title,
    score_text,
    share,
)
from keeptune.report.frame import Frame
from keeptune.report.plots import PLOT, Point, bar, interval_strip, scatter, spread
from keeptune.report.svg import Axis


@dataclass(frozen=True)
class Cell:
    """One arm's part in a trade-off: its number in words, its bar."""

    text: str
    mark: Markup


@dataclass(frozen=True)
class Tradeoff:
    """One of the five trade-offs, with a cell per arm."""

    title: str
    hint: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Tradeoffs:
    """The trade-offs side by side, a row per arm."""

    items: tuple[Tradeoff, ...]
    views: tuple[ArmView, ...]


@dataclass(frozen=True)
class Column:
    """One column of the cost table, a cell per arm."""

    title: str
    cells: tuple[str, ...]


def tradeoffs(views: Sequence[ArmView], metric: str) -> Tradeoffs | None:
    """Parameters, memory, training speed, quality and inference cost; those without a number are left out.

    Quality alone is no trade-off, and neither is one arm: then there are none.
    """
    asked: list[tuple[str, str, Callable[[Costs], float | None], Callable[[float], str]]] = [
        ("Parameters", "trained; fewer is lighter", lambda c: c.trainable_parameters, human_count),
        ("Memory", "peak while training; less is lighter", lambda c: c.peak_memory_bytes, human_bytes),
        (
            "Training speed",
            "tokens per second; more is faster",
            lambda c: c.tokens_per_second,
            lambda x: f"{count(x)} /s",
        ),
        ("Inference cost", "prompt tokens per request; fewer is cheaper", lambda c: c.tokens_per_request, count),
    ]
    shown = ran(views)
    made = [bars for title, hint, value, write in asked if (bars := _bars(shown, title, hint, value, write))]
    quality = _quality(shown, metric)
    if not made or len(shown) < 2:
        return None
    if quality:
        made.insert(len(made) - sum(item.title == "Inference cost" for item in made), quality)
    return Tradeoffs(tuple(made), tuple(shown))


def _bars(
    views: Sequence[ArmView],
    title: str,
    hint: str,
    value: Callable[[Costs], float | None],
    write: Callable[[float], str],
) -> Tradeoff | None:
    """A bar per arm, or None where no arm has a number above 0."""
    values = [x if x is not None and known(x) else None for x in (value(v.arm.costs) for v in views)]
    largest = max((x for x in values if x is not None), default=0.0)
    if largest <= 0:
        return None
    cells = [
        Cell(MISSING, Markup("")) if x is None else Cell(write(x), bar(x, largest, v.chosen))
        for v, x in zip(views, values, strict=True)
    ]
    return Tradeoff(title, hint, tuple(cells))


def _quality(views: Sequence[ArmView], metric: str) -> Tradeoff | None:
    """The target scores once more, small, beside what they cost."""
    found = scored(views)
    if not found:
        return None
    axis = score_axis(found, metric)
    cells = []
    for v in views:
        if v not in found:
            cells.append(Cell(MISSING, Markup("")))
            continue
        target = v.arm.target
        title = f"{v.label}: {score_text(target)}"
        mark = interval_strip(axis, target.mean, spread(target.interval), v.shape, v.class_, 14, title=title)
        cells.append(Cell(metric_number(target.mean, metric), mark))
    better = "higher" if found[0].arm.target.higher_is_better else "lower"
    return Tradeoff("Quality", f"{metric_name(metric)}; {better} is better", tuple(cells))


def cost_columns(views: Sequence[ArmView]) -> tuple[Column, ...]:
    """The columns of the cost table that hold at least one number; arms that were not run have none."""
    asked: list[tuple[str, Callable[[Costs], str]]] = [
        ("Trained parameters", _parameters),
        ("Peak memory", lambda c: maybe(c.peak_memory_bytes, human_bytes)),
        ("Training time", lambda c: maybe(c.train_seconds, human_seconds)),
        ("Tokens per second", lambda c: count(c.tokens_per_second)),
        ("Trained tokens", lambda c: maybe(c.trained_tokens, human_count)),
        ("Tokens per request", lambda c: count(c.tokens_per_request)),
        ("Time per request", lambda c: maybe(c.seconds_per_request, lambda s: f"{1000 * s:.0f} ms")),
        ("Size on disk", lambda c: maybe(c.bytes_on_disk, human_bytes)),
        ("Pays off after requests", _pays_off),
    ]
    nothing = Costs()
    costs = [nothing if v.not_run else v.arm.costs for v in views]
    columns = [Column(title, tuple(write(cost) for cost in costs)) for title, write in asked]
    return tuple(column for column in columns if any(cell != MISSING for cell in column.cells))


def _pays_off(costs: Costs) -> str:
    """'2,410 to 9,800': one training against prompting that caches nothing, the whole sweep against one that does."""
    low, high = costs.break_even_requests, costs.break_even_most
    if low is None or low == high:
        return count(low)
    return f"{count(low)} to {count(high) if high is not None else 'never'}"


def maybe(value: float | None, write: Callable[[float], str]) -> str:
    """A number in words, or a dash."""
    return write(value) if value is not None and known(value) else MISSING


def _parameters(costs: Costs) -> str:
    if costs.trainable_parameters == 0:
        return "0" if costs.total_parameters else MISSING
    part = costs.trainable_parameters / costs.total_parameters if costs.total_parameters else None
    return f"{human_count(costs.trainable_parameters)}{f' ({share(part)})' if part is not None else ''}"


@dataclass(frozen=True)
class Shots:
    """What demonstrations cost per request."""

    chart: Markup
    arms: tuple[ArmView, ...]  # prompting, by the number of shots
    some: bool  # of many trained arms only the recommended and the best are drawn


def shots(views: Sequence[ArmView], metric: str) -> Shots | None:
    """Tokens per request against target score, prompting joined; None where prompting was not varied."""
    prompting = [
        v for v in ran(views) if v.arm.shots is not None and not v.trained and known(v.arm.costs.tokens_per_request)
    ]
    priced = [v for v in scored(views) if known(v.arm.costs.tokens_per_request)]
    if len(prompting) < 2 or not priced:
        return None
    prompting.sort(key=lambda v: v.arm.shots or 0)
    drawn = _few(priced) if len(priced) > MANY else priced
    points = {v.number: _priced(v) for v in drawn}
    frame = Frame(
        Axis.around([0.0, *(p.x for p in points.values())], lambda value: f"{value:,.0f}"),
        score_axis(drawn, metric),
        PLOT,
        "prompt tokens per request",
        metric_title(metric),
        8.0,
    )
    chart = scatter(
        list(points.values()),
        frame,
        description="Prompt tokens per request against target score, one marker per arm",
        path=[(points[v.number].x, points[v.number].y) for v in prompting if v.number in points],
    )
    return Shots(chart, tuple(prompting), len(drawn) < len(priced))


def _few(priced: Sequence[ArmView]) -> list[ArmView]:
    """Prompting, the recommended arm and the best of the others: trained arms need the same tokens per request."""
    trained = [v for v in priced if v.trained]
    sign = 1 if priced[0].arm.target.higher_is_better else -1
    best = max(trained, key=lambda v: sign * v.arm.target.mean, default=None)
    return [v for v in priced if not v.trained or v.chosen or v is best]


def _priced(v: ArmView) -> Point:
    tokens = v.arm.costs.tokens_per_request or 0.0
    class_ = v.class_ if v.trained or v.chosen else f"{v.class_} open"
    title = f"{v.label}: {count(tokens)} tokens per request, {score_text(v.arm.target)}"
    return Point(v.label, tokens, v.arm.target.mean, None, spread(v.arm.target.interval), v.shape, class_, title)
