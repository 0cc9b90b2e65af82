"""Every model that was looked at on validation items: rates, checkpoints on their way, interpolations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import FrontierPoint, Summary
from keeptune.report.arms import SHAPES, ArmView, change_axis, named, target_axis
from keeptune.report.formatting import (
    known,
    margins_text,
    margins_tick,
    metric_number,
    metric_title,
    plain,
    rate_text,
    share,
)
from keeptune.report.frame import Frame
from keeptune.report.panels import HEIGHT, WIDTH, Panel, Spot, spots

PLACED = {"rate": "", "checkpoint": "bead", "interpolation": "rhomb"}  # the shape; a rate has its method's


@dataclass(frozen=True)
class PointRow:
    """One model, in words."""

    arm: str
    what: str
    target: str
    worst: str
    mean: str
    loss: str
    kl: str
    agreement: str
    note: str


@dataclass(frozen=True)
class Frontier:
    """A panel per arm of which several models were looked at, and every point in words."""

    groups: tuple[tuple[Panel, ...], ...]  # of one method each, which share their scales
    alone: tuple[str, ...]  # arms with one model: no panel
    rows: tuple[PointRow, ...]
    kinds: tuple[str, ...]  # of the points, for the legend
    by_worst: bool  # points are placed by their worst change, not by their mean change
    lower_is_better: bool
    drifted: bool  # some point has a KL


def frontier(summary: Summary, views: Sequence[ArmView]) -> Frontier | None:
    """The frontier of every arm, or None where no point has both coordinates.

    Target scores have one axis; changes have one for every method, since methods differ by far more than remedies.
    Panels of one method stand side by side.
    """
    by_worst = any(known(point.worst_change) for point in summary.frontier)
    shown = [p for p in summary.frontier if not p.diverged and known(p.target) and known(_change(p, by_worst))]
    if not shown:
        return None
    x_axis = target_axis([p.target for p in shown], summary.metric, wanted=4)
    arms = dict.fromkeys(p.arm for p in shown)
    alone = [arm for arm in arms if sum(p.arm == arm for p in shown) == 1]
    groups: dict[str, list[Panel]] = {}
    for arm in arms:
        if arm not in alone:
            mine = [p for p in shown if p.arm == arm]
            method = [_change(p, by_worst) or 0.0 for p in shown if p.method == mine[0].method]
            frame = Frame(
                x_axis,
                change_axis([*method, -1.0], wanted=4, write=margins_tick),
                HEIGHT,
                metric_title(summary.metric),
                f"{'worst' if by_worst else 'mean'} change, margins",
                margin=1.0,
            )
            diverged = sum(p.diverged for p in summary.frontier if p.arm == arm)
            view = named(views, arm)
            chart = _chart(frame, mine, _shape(mine[0], view), by_worst, summary.metric)
            caption = _caption(mine, diverged, by_worst, summary.metric)
            groups.setdefault(mine[0].method, []).append(Panel(_title(arm, view), caption, chart))
    return Frontier(
        groups=tuple(map(tuple, groups.values())),
        alone=tuple(_title(arm, named(views, arm)) for arm in alone),
        rows=tuple(_row(point, named(views, point.arm), summary.metric) for point in summary.frontier),
        kinds=tuple(kind for kind in PLACED if any(p.kind == kind for p in shown)),
        by_worst=by_worst,
        lower_is_better=any(not v.arm.target.higher_is_better for v in views),
        drifted=any(point.drift for point in summary.frontier),
    )


def _change(point: FrontierPoint, by_worst: bool) -> float | None:
    return point.worst_change if by_worst else point.retained_change


def _title(arm: str, view: ArmView | None) -> str:
    """The arm's name without the rate: here it has several."""
    return view.without_rate if view else arm


def _shape(point: FrontierPoint, view: ArmView | None) -> str:
    return view.shape if view else SHAPES.get(point.method, "triangle")


def _chart(frame: Frame, points: Sequence[FrontierPoint], shape: str, by_worst: bool, metric: str) -> Markup:
    """Trainings as thin lines, interpolations dashed, rates named, picked points ringed."""
    parts, lines = frame.grid(), []
    trainings = dict.fromkeys((p.lr, p.seed) for p in points)
    for lr, seed in trainings:
        mine = [p for p in points if (p.lr, p.seed) == (lr, seed)]
        for path, class_ in ((_way(mine), "way"), (_between(mine), "path")):
            values = [(p.target, _change(p, by_worst) or 0.0) for p in path]
            parts.append(frame.join(values, class_))
            lines += frame.segments(values, WIDTH)
    order = sorted(points, key=lambda p: (not p.picked, p.kind != "rate"))
    parts += spots(frame, [_spot(p, shape, by_worst, metric) for p in order], lines)
    return frame.figure(parts, f"Target score against retained change of {points[0].arm}, validation items")


def _way(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """Checkpoints of one training by step, the model that it ended with in its place or last."""
    steps = [p for p in points if p.kind != "interpolation"]
    path = sorted(steps, key=lambda p: (p.step is None, p.step or 0, p.kind == "rate"))
    return path if len(path) > 1 else []


def _between(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """Interpolations of one training by alpha; the trained model closes the line where alpha 1 is not among them."""
    path = sorted((p for p in points if p.kind == "interpolation"), key=lambda p: p.alpha or 0.0)
    if path and (path[-1].alpha or 0.0) < 1:
        path += [p for p in points if p.kind == "rate"][:1]
    return path if len(path) > 1 else []


def _spot(point: FrontierPoint, shape: str, by_worst: bool, metric: str) -> Spot:
    change = _change(point, by_worst) or 0.0
    name = {"rate": rate_text(point.lr), "checkpoint": "", "interpolation": f"α {point.alpha or 0:g}"}[point.kind]
    title = (
        f"{point.arm}, {_what(point)}: {metric_number(point.target, metric)}, "
        f"retained {margins_text(change)} (validation items)"
    )
    class_ = "dot chosen" if point.picked else "dot open" if point.kind != "checkpoint" else "dot soft"
    return Spot(point.target, change, PLACED[point.kind] or shape, class_, title, name, point.picked)


def _what(point: FrontierPoint) -> str:
    """'rate 3e-4, seed 0, step 120'."""
    parts = [f"rate {rate_text(point.lr)}", f"seed {point.seed}"]
    if point.step is not None:
        parts.append(f"step {point.step:,}")
    if point.kind == "interpolation":
        parts.append(f"α {point.alpha or 0:g}")
    return ", ".join(parts)


def _caption(points: Sequence[FrontierPoint], diverged: int, by_worst: bool, metric: str) -> str:
    """'picked rate 3e-4, seed 0: 44.0, −29.0 · 3 points, 1 diverged'."""
    picked = [
        f"picked {_what(p)}: {metric_number(p.target, metric)}, {margins_text(_change(p, by_worst))}"
        for p in points
        if p.picked
    ]
    number = f"{len(points)} {'point' if len(points) == 1 else 'points'}"
    return "; ".join([*picked[:2], f"{number}{f', {diverged} diverged' if diverged else ''}"])


def _row(point: FrontierPoint, view: ArmView | None, metric: str) -> PointRow:
    drift = point.drift
    note = ", ".join(word for word, true in (("picked", point.picked), ("diverged", point.diverged)) if true)
    return PointRow(
        arm=_title(point.arm, view),
        what=_what(point),
        target=metric_number(point.target, metric),
        worst=margins_text(point.worst_change),
        mean=margins_text(point.retained_change),
        loss=plain(point.validation_loss),
        kl=plain(drift.kl if drift else None),
        agreement=share(drift.agreement if drift else None),
        note=note,
    )
