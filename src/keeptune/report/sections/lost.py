"""What was lost: all suites together, and where the losses lie, by label, by cluster and in samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keeptune.core.records import LostItem, Overall, SuiteLosses
from keeptune.report.arms import ArmView, with_suites
from keeptune.report.marks import mark_differences


@dataclass(frozen=True)
class Shown:
    """An item that lost, with what is new in the answer after marked."""

    item: LostItem
    after: Markup


@dataclass(frozen=True)
class SuiteLost:
    """One suite of one arm."""

    losses: SuiteLosses
    samples: tuple[Shown, ...]


@dataclass(frozen=True)
class ArmLost:
    """One arm: all suites together, then each on which something got worse."""

    view: ArmView
    overall: Overall | None
    suites: tuple[SuiteLost, ...]


def lost(views: Sequence[ArmView]) -> tuple[ArmLost, ...]:
    """The arms of which more is known than their verdicts."""
    return tuple(
        ArmLost(view, view.arm.overall, tuple(map(_suite, view.arm.losses)))
        for view in with_suites(views)
        if view.arm.overall is not None or view.arm.losses
    )


def _suite(losses: SuiteLosses) -> SuiteLost:
    shown = [each for each in losses.samples if each.prompt or each.after]
    return SuiteLost(losses, tuple(Shown(each, _marked(each)) for each in shown))


def _marked(item: LostItem) -> Markup:
    return mark_differences(item.after, [text for text in (*item.references, item.before) if text])
