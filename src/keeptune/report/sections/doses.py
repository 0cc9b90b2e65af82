"""Replay: how much is kept and gained, by the share of old examples among the trained tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import ArmParts
from keeptune.report.arms import (
    ArmView,
    change_axis,
    mean_change,
    measurable,
    scored,
    shared_margin,
    target_axis,
    worst,
)
from keeptune.report.formatting import (
    change_text,
    metric_title,
    score_text,
)
from keeptune.report.frame import Frame
from keeptune.report.panels import HEIGHT, Panel, Spot, spots
from keeptune.report.plots import spread
from keeptune.report.svg import Axis

KINDS = ("replay", "self-replay", "text-replay")  # remedies whose doses are shares of old rows
SHARE = "replayed share of the trained tokens"
ASIDE = 0.09  # kinds of replay stand beside each other, in steps of the x axis


@dataclass(frozen=True)
class Dose:
    """One arm as a point of a dose-response curve."""

    share: float  # per cent of the trained tokens
    kind: str  # of `KINDS`
    view: ArmView


@dataclass(frozen=True)
class DoseGroup:
    """The doses of one method: two panels."""

    base: str
    panels: tuple[Panel, ...]
    doses: tuple[Dose, ...]
    kinds: tuple[str, ...]


def replay_dose(arm: ArmParts) -> tuple[str, str, float]:
    """Arm without replay, kind and per cent: ('full', 'replay', 5.0) of full+replay:5%; ('full', '', 0.0) without."""
    replayed = next((each for each in arm.remedies if each.name in KINDS), None)
    others = [each for each in arm.remedies if each is not replayed]
    base = "+".join([arm.method, *(f"{each.name}:{each.dose}" if each.dose else each.name for each in others)])
    return (base, "", 0.0) if replayed is None else (base, replayed.name, round(100 * float(replayed.dose or 0), 6))


def doses(views: Sequence[ArmView], metric: str) -> tuple[DoseGroup, ...]:
    """A group for every method of which more than one share was run."""
    groups: dict[str, list[Dose]] = {}
    for v in scored(views):
        if v.arm.parts is not None and v.arm.alpha is None:
            dose = replay_dose(v.arm.parts)
            groups.setdefault(dose[0], []).append(Dose(dose[2], dose[1], v))
    return tuple(_group(base, found, views, metric) for base, found in groups.items() if any(d.kind for d in found))


def _group(base: str, found: Sequence[Dose], views: Sequence[ArmView], metric: str) -> DoseGroup:
    ordered = sorted(found, key=lambda d: (d.share, d.kind))
    shares = sorted({d.share for d in ordered})
    kinds = tuple(kind for kind in KINDS if any(d.kind == kind for d in ordered))
    x_axis = Axis(
        -0.4, len(shares) - 0.6, tuple(float(i) for i in range(len(shares))), lambda i: f"{shares[round(i)]:g} %"
    )
    panels = [
        Panel("Target score", "with its interval", _target_panel(ordered, kinds, shares, x_axis, metric)),
    ]
    if any(measurable(d.view.arm) for d in ordered):
        kept = _kept_panel(ordered, kinds, shares, x_axis, shared_margin(views))
        panels.insert(0, Panel("Retained change", "mean of the suites; small dots: every suite", kept))
    return DoseGroup(base, tuple(panels), tuple(ordered), kinds)


def _series(
    doses: Sequence[Dose], kinds: Sequence[str], shares: Sequence[float]
) -> list[tuple[str, list[tuple[float, Dose]]]]:
    """Per kind of replay its doses with their x; no replay is the first point of every kind."""
    series = []
    for number, kind in enumerate(kinds):
        aside = ASIDE * (2 * number - (len(kinds) - 1))
        mine = [(shares.index(d.share) + (aside if d.kind else 0.0), d) for d in doses if d.kind in (kind, "")]
        series.append((kind, mine))
    return series


def _mark(kind: str, view: ArmView) -> tuple[str, str]:
    """Shape and class: a hollow triangle for texts of the base's own, a hollow square for unlabelled text."""
    shape = {"self-replay": "triangle", "text-replay": "square"}.get(kind, "circle")
    return shape, ("dot" if shape == "circle" else "dot open") + (" chosen" if view.chosen else "")


def _line(kind: str) -> str:
    return "curve" if kind == "replay" else "path"


def _target_panel(
    doses: Sequence[Dose], kinds: Sequence[str], shares: Sequence[float], x_axis: Axis, metric: str
) -> Markup:
    targets = [d.view.arm.target for d in doses]
    values = [end for t in targets for end in (t.mean, *(spread(t.interval) or ()))]
    title = metric_title(metric)
    frame = Frame(x_axis, target_axis(values, metric, wanted=4), HEIGHT, SHARE, title)
    parts, marks = frame.grid(upright=False), []
    for kind, series in _series(doses, kinds, shares):
        parts.append(frame.join([(x, d.view.arm.target.mean) for x, d in series], _line(kind)))
        for x, d in series:
            target, (shape, class_) = d.view.arm.target, _mark(d.kind, d.view)
            ends = spread(target.interval)
            if ends:
                parts.append(frame.upright(x, *ends, f"whisker thin {class_}"))
            marks.append(Spot(x, target.mean, shape, class_, f"{d.view.label}: {score_text(target)}"))
    return frame.figure(parts + spots(frame, marks), "Target score by share of replay")


def _kept_panel(
    doses: Sequence[Dose], kinds: Sequence[str], shares: Sequence[float], x_axis: Axis, margin: float | None
) -> Markup:
    changes = [change for d in doses for v in measurable(d.view.arm) for change in (v.change,)]
    lows = [end for d in doses if (low := worst(d.view.arm)) for end in spread(low.interval) or ()]
    y_axis = change_axis([*changes, *lows, -(margin or 0.0)], wanted=4)
    frame = Frame(x_axis, y_axis, HEIGHT, SHARE, "change of retained suites, points", margin=margin)
    parts, marks = frame.grid(upright=False), []
    for kind, series in _series(doses, kinds, shares):
        known_means = [(x, mean) for x, d in series if (mean := mean_change(d.view.arm)) is not None]
        parts.append(frame.join(known_means, _line(kind)))
        for x, d in series:
            marks += _kept_spots(x, d)
            low = worst(d.view.arm)
            ends = spread(low.interval) if low else None
            if ends:
                parts.append(frame.upright(x, *ends, "whisker thin"))
    return frame.figure(parts + spots(frame, marks), "Retained change by share of replay")


def _kept_spots(x: float, dose: Dose) -> list[Spot]:
    """The mean of the suites, and every suite small."""
    mean, view = mean_change(dose.view.arm), dose.view
    shape, class_ = _mark(dose.kind, view)
    every = [
        Spot(x, v.change, "bead", "dot soft", f"{view.label}, {v.suite}: {change_text(v.change)}")
        for v in measurable(view.arm)
    ]
    return every if mean is None else [Spot(x, mean, shape, class_, f"{view.label}: mean {change_text(mean)}"), *every]
