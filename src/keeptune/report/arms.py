"""The arms as every section shows them: their mark, their label, and what can be read off them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.records import ArmSummary, SuiteVerdict, Summary
from keeptune.report.formatting import change_tick, known, metric_unit
from keeptune.report.svg import Axis

SHAPES = {"prompt": "circle", "full": "square", "lora": "diamond"}
MANY = 6  # more arms than this are numbered in charts and have tables of narrow cells


@dataclass(frozen=True)
class ArmView:
    """An arm with the mark it has in every chart."""

    arm: ArmSummary
    number: int  # its place in the summary, from 1; its name in crowded charts
    shape: str
    class_: str
    chosen: bool
    items: str  # where its answers to the target are in the run folder

    @property
    def label(self) -> str:
        """The arm's name on the page: 'LoRA r=16, lr 0.003', in which no line breaks between lr and the number."""
        return self.arm.label.replace(", lr ", ", lr\N{NO-BREAK SPACE}")

    @property
    def without_rate(self) -> str:
        """The label without the learning rate: 'LoRA r=16'."""
        return self.arm.label.partition(", lr ")[0]

    @property
    def trained(self) -> bool:
        """Whether the arm's weights differ from the base model's."""
        return bool(self.arm.suites) or self.arm.costs.trainable_parameters > 0

    @property
    def not_run(self) -> str | None:
        """'not run: needs 18 GB' for an arm that was planned and left out."""
        return not_run(self.arm)


def not_run(arm: ArmSummary) -> str | None:
    """Why there is no number of this arm, in words; None where it was run."""
    return None if arm.not_run is None else f"not run: {arm.not_run or 'no reason given'}"


def arm_views(summary: Summary, run: Path) -> tuple[ArmView, ...]:
    """All arms in the order of the summary."""
    views = []
    for number, arm in enumerate(summary.arms, 1):
        chosen = arm.name == summary.recommendation.arm
        class_ = "dot chosen" if chosen else "dot"
        items = records_file(run, arm, summary.target)
        views.append(ArmView(arm, number, SHAPES.get(arm.family, "triangle"), class_, chosen, items))
    return tuple(views)


def records_file(run: Path, arm: ArmSummary, suite: str) -> str:
    """Where the items of a suite are, relative to the run folder; the summary where no such file was kept."""
    if arm.folder:
        path = Path(arm.folder) / "items" / f"{suite}.jsonl"
        if (run / path).is_file():
            return path.as_posix()
    return "summary.json"


def ran(views: Sequence[ArmView]) -> list[ArmView]:
    """The arms that were measured; only these appear in charts."""
    return [v for v in views if v.arm.not_run is None]


def scored(views: Sequence[ArmView]) -> list[ArmView]:
    """The arms whose target score is known."""
    return [v for v in ran(views) if v.arm.target.n > 0 and known(v.arm.target.mean)]


def with_suites(views: Sequence[ArmView]) -> list[ArmView]:
    """The arms that have verdicts on retained suites."""
    return [v for v in ran(views) if v.arm.suites]


def measurable(arm: ArmSummary) -> list[SuiteVerdict]:
    """The suites whose change is known and means something."""
    return [v for v in arm.suites if v.verdict != "Not measurable" and known(v.change)]


def worst(arm: ArmSummary) -> SuiteVerdict | None:
    """The measurable suite with the smallest change."""
    return min(measurable(arm), key=lambda verdict: verdict.change, default=None)


def mean_change(arm: ArmSummary) -> float | None:
    """Mean change over the measurable suites, as the frontier has it."""
    changes = [verdict.change for verdict in measurable(arm)]
    return sum(changes) / len(changes) if changes else None


def verdict_counts(arm: ArmSummary) -> str:
    """'5 Retained, 1 Harmed', in the order of the protocol."""
    found = [verdict.verdict for verdict in arm.suites]
    order = ("Retained", "Harmed", "Worse", "Inconclusive", "Not measurable")
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in order if verdict in found)


def named(views: Sequence[ArmView], arm: str) -> ArmView | None:
    """The arm that the recipe or its folder names this way; an interpolated one only where there is no other."""
    found = [v for v in ran(views) if arm in (v.arm.arm, v.arm.name)]
    return min(found, key=lambda v: v.arm.alpha is not None, default=None)


def target_axis(values: Sequence[float], metric: str, *, wanted: int = 5) -> Axis:
    """An axis of target scores in the unit that the page uses."""
    bits = metric_unit(metric) != "points"
    return Axis.around(values, lambda value: f"{value:.3g}" if bits else f"{100 * value:.4g}", wanted=wanted)


def score_axis(views: Sequence[ArmView], metric: str) -> Axis:
    """One axis for all target scores and their intervals."""
    ends = [end for v in views for end in (v.arm.target.interval.low, v.arm.target.interval.high, v.arm.target.mean)]
    return target_axis(ends, metric)


def shared_margin(views: Sequence[ArmView]) -> float | None:
    """The margin that all suites share, if they do."""
    margins = {verdict.margin for v in with_suites(views) for verdict in v.arm.suites}
    return margins.pop() if len(margins) == 1 else None


def change_axis(values: Sequence[float], *, wanted: int = 5, write: Callable[[float], str] = change_tick) -> Axis:
    """An axis of retained changes that shows 0; ticks have the digits that they need: '−2.5', '0'."""
    return Axis.around([*values, 0.0], write, wanted=wanted)
