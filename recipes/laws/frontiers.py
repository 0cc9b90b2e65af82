"""Frontier points by arm, rate and seed: models that were scored on validation items.

A point's drop is minus the mean change over the retained suites, each in its own margins: points of questions and per
cent of the bits of prose are not added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from keeptune.core.records import FrontierPoint

Curve = Mapping[int, Sequence[FrontierPoint]]
"""Seed -> models of one arm at one rate, interpolated ones aside."""


def by_seed(found: Iterable[FrontierPoint]) -> dict[int, list[FrontierPoint]]:
    """Trainings and checkpoints by seed."""
    curve: dict[int, list[FrontierPoint]] = {}
    for point in found:
        if point.kind != "interpolation":
            curve.setdefault(point.seed, []).append(point)
    return curve


def curve_of(found: Sequence[FrontierPoint], arm: str, lr: float) -> dict[int, list[FrontierPoint]]:
    """Seed -> trainings and checkpoints of an arm at one rate."""
    return by_seed(p for p in distinct(found) if p.arm == arm and p.lr == lr)


def distinct(found: Iterable[FrontierPoint]) -> list[FrontierPoint]:
    """Every model once: recipes share trainings, and the end of a way is the training itself."""
    models = {
        (p.arm, p.lr, p.seed, p.kind, p.step if p.kind == "checkpoint" else None, p.alpha): p
        for p in found
        if p.alpha != 1 and p.arm != "base"
    }
    return list(models.values())


def picked_rate(found: Sequence[FrontierPoint], arm: str) -> float:
    """The rate that an arm was chosen at."""
    return next(p.lr for p in found if p.arm == arm and p.kind == "rate" and p.picked)


def end(curve: Sequence[FrontierPoint]) -> FrontierPoint:
    """The model that a training left."""
    return next(p for p in curve if p.kind == "rate")


def checkpoints(curve: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """The models on the way of a training."""
    return [p for p in curve if p.kind == "checkpoint"]


def drop(point: FrontierPoint) -> float:
    """What was lost, positive."""
    return -(point.retained_change or 0.0)


def pairs(curve: Iterable[FrontierPoint]) -> list[tuple[float, float]]:
    """(target score, drop in margins) of every model that did not diverge."""
    return [(p.target, drop(p)) for p in curve if not p.diverged]
