"""Loss curves as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from keeptune.core.records import StepRecord, ValidationRecord
from keeptune.report.formatting import rate_text
from keeptune.report.frame import Frame
from keeptune.report.svg import Axis, element, marker, percent

CURVE = 150.0  # height of a loss chart, pixels
CURVE_POINTS = 240  # a longer curve is thinned to this many points
TOLD = 60  # steps of a curve that have a tooltip


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Centred running mean, for display only."""
    half = window // 2
    means = []
    for index in range(len(values)):
        part = values[max(index - half, 0) : index + half + 1]
        means.append(sum(part) / len(part))
    return means


def loss_axis(steps: Sequence[StepRecord], validation: Sequence[ValidationRecord]) -> list[float]:
    """The values that a loss axis must hold: the smoothed curve and every validation loss."""
    losses = [record.loss for record in steps if math.isfinite(record.loss)]
    return _smoothed(losses) + [record.loss for record in validation if math.isfinite(record.loss)]


def loss_chart(
    steps: Sequence[StepRecord], validation: Sequence[ValidationRecord], y_axis: Axis, description: str
) -> Markup:
    """Training loss (faint: every step, strong: running mean) and validation loss (markers, best one filled)."""
    finite = [record for record in steps if math.isfinite(record.loss)]
    every = [float(record.step) for record in finite] + [float(record.step) for record in validation]
    x_axis = Axis.around([0.0, *every], lambda value: f"{value:,.0f}", wanted=4)
    frame = Frame(x_axis, y_axis, CURVE, "step", "loss, nats per trained token", 4.0)
    parts = frame.grid(upright=False)
    raw = [record.loss for record in finite]
    for class_, losses in (("curve faint", raw), ("curve", _smoothed(raw))):
        parts.append(frame.join(_thin([(r.step, loss) for r, loss in zip(finite, losses, strict=True)]), class_))
    parts += _told(frame, finite)
    valid = [record for record in validation if math.isfinite(record.loss)]
    parts.append(frame.join([(record.step, record.loss) for record in valid], "path"))
    # the loop marks every improvement; the last of them is the checkpoint that was kept
    kept = max((record.step for record in valid if record.best), default=None)
    for record in valid:
        class_ = "dot chosen" if record.step == kept else "dot open chosen"
        title = f"step {record.step}: validation loss {record.loss:.3f}"
        parts.append(marker(*frame.at(record.step, record.loss), "circle", class_, title))
    return frame.figure(parts, description)


def _told(frame: Frame, steps: Sequence[StepRecord]) -> list[Markup]:
    """Stripes that cannot be seen, each with the loss of a step as its tooltip."""
    every = max(1, math.ceil(len(steps) / TOLD))
    parts = []
    for record in steps[::every]:
        left, right = (frame.x_axis.x(record.step + side * every / 2) for side in (-1, 1))
        title = element("title", f"step {record.step:,}: loss {record.loss:.3f}, rate {rate_text(record.lr)}")
        place = {"x": percent(left), "y": 0, "width": percent(right - left), "height": frame.height}
        parts.append(element("rect", title, **place, class_="hit"))
    return parts


def _smoothed(losses: Sequence[float]) -> list[float]:
    return smooth(losses, max(3, len(losses) // 20))


def _thin(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about 240 points; the last one stays."""
    every = max(1, math.ceil(len(curve) / CURVE_POINTS))
    return list(dict.fromkeys([*curve[::every], *curve[-1:]]))
