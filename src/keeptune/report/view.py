"""What each section of the report shows, taken from the summary. A section without data is None or empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from keeptune.core.records import ArmSummary, Costs, FrontierPoint, SampleOutput, SuiteVerdict, Summary
from keeptune.core.units import human_bytes, human_count, human_seconds
from keeptune.report.marks import mark_differences
from keeptune.report.plots import Point, axis_strip, bar, scatter, score_strip
from keeptune.report.svg import Axis
from keeptune.report.wording import (
    MISSING,
    change_interval,
    change_text,
    change_unit,
    clip,
    count,
    known,
    metric_name,
    metric_number,
    metric_unit,
    rate_text,
    score_text,
    share,
)

SHAPES = {"prompt": "circle", "full": "square", "lora": "diamond"}
SAMPLE_LIMIT, PROMPT_LENGTH, OUTPUT_LENGTH = 8, 1500, 1500  # keep the page small


@dataclass(frozen=True)
class ArmView:
    """An arm with the mark it has in every chart."""

    arm: ArmSummary
    shape: str
    class_: str
    chosen: bool
    items: str  # where its answers to the target are in the run folder

    @property
    def label(self) -> str:
        """The arm as people read it."""
        return self.arm.label

    @property
    def trained(self) -> bool:
        """True where the weights differ from the base model's."""
        return bool(self.arm.suites) or self.arm.costs.trainable_parameters > 0


@dataclass(frozen=True)
class Row:
    """One line of a bar chart: an arm, its number in words, its bar."""

    view: ArmView
    text: str
    mark: Markup


@dataclass(frozen=True)
class Tradeoff:
    """One of the five trade-offs, with a row per arm."""

    title: str
    hint: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Column:
    """One column of the cost table, a cell per arm."""

    title: str
    cells: tuple[str, ...]


def arm_views(summary: Summary, run: Path) -> tuple[ArmView, ...]:
    """All arms in the order of the summary."""
    views = []
    for arm in summary.arms:
        chosen = arm.name == summary.recommendation.arm
        class_ = "dot chosen" if chosen else "dot"
        items = records_file(run, arm, summary.target)
        views.append(ArmView(arm, SHAPES.get(arm.family, "triangle"), class_, chosen, items))
    return tuple(views)


def records_file(run: Path, arm: ArmSummary, suite: str) -> str:
    """Where the items of a suite are, relative to the run folder; the summary where no such file was kept."""
    if arm.folder:
        path = Path(arm.folder) / "items" / f"{suite}.jsonl"
        if (run / path).is_file():
            return path.as_posix()
    return "summary.json"


def worst(arm: ArmSummary) -> SuiteVerdict | None:
    """The measurable suite with the smallest change."""
    measured = [v for v in arm.suites if v.verdict != "Not measurable" and known(v.change)]
    return min(measured, key=lambda verdict: verdict.change, default=None)


def verdict_counts(arm: ArmSummary) -> str:
    """'5 Retained, 1 Harmed', in the order of the protocol."""
    found = [verdict.verdict for verdict in arm.suites]
    order = ("Retained", "Harmed", "Inconclusive", "Not measurable")
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in order if verdict in found)


def scored(views: Sequence[ArmView]) -> list[ArmView]:
    """Arms whose target score is known."""
    return [v for v in views if v.arm.target.n > 0 and known(v.arm.target.mean)]


def score_axis(views: Sequence[ArmView], metric: str) -> Axis:
    """One axis for all target scores and their intervals."""
    ends = [end for v in views for end in (v.arm.target.interval.low, v.arm.target.interval.high, v.arm.target.mean)]
    bits = metric_unit(metric) != "points"
    return Axis.around(ends, lambda value: f"{value:.3g}" if bits else f"{100 * value:.4g}")


def score_rows(views: Sequence[ArmView], metric: str) -> tuple[tuple[Row, ...], Markup]:
    """Dot and whisker for every scored arm, and the axis under them."""
    rows = scored(views)
    axis = score_axis(rows, metric)
    made = []
    for v in rows:
        strip = score_strip(axis, v.arm.target, v.shape, v.class_)
        made.append(Row(v, score_text(v.arm.target), strip))
    return tuple(made), axis_strip(axis)


def retention_point(v: ArmView) -> Point | None:
    """Target score against the worst retained change; an arm that leaves the weights alone changes nothing."""
    target, worst_suite = v.arm.target, worst(v.arm)
    if worst_suite is None and v.trained:
        return None
    change = worst_suite.change if worst_suite else 0.0
    interval = worst_suite.interval if worst_suite else None
    where = f"worst on {worst_suite.suite}: {change_text(change)} {change_unit(worst_suite)} " if worst_suite else ""
    title = f"{v.label}: {score_text(target)}; {where}{f'({change_interval(interval)})' if interval else ''}"
    class_ = v.class_ if v.arm.pareto else f"{v.class_} open"
    x_range = (target.interval.low, target.interval.high)
    y_range = (interval.low, interval.high) if interval else None
    return Point(v.label, target.mean, change, x_range, y_range, v.shape, class_, title.strip("; "))


def trial_point(trial: FrontierPoint, views: Sequence[ArmView], metric: str) -> Point | None:
    """One rate tried, on validation items."""
    change = trial.worst_change if trial.worst_change is not None else trial.retained_change
    if change is None or not known(change) or not known(trial.target):
        return None
    shape = next((v.shape for v in views if v.arm.name == trial.arm), "triangle")
    title = (
        f"{trial.arm}, rate {rate_text(trial.lr)}, seed {trial.seed}: {metric_number(trial.target, metric)}, "
        f"retained {change_text(change)} (validation items)"
    )
    return Point("", trial.target, change, None, None, shape, "dot", title)


@dataclass(frozen=True)
class Retention:
    """The scatter of gain against retention and what its caption needs."""

    chart: Markup
    trials: int
    trials_worst: bool  # trials are placed by their worst change, not by their mean change
    margin: float | None  # where all suites share one
    lower_is_better: bool


def retention_chart(summary: Summary, views: Sequence[ArmView]) -> Retention | None:
    """Gain against retention, or None where nothing retained was measured or two arms leave nothing to choose."""
    points = [point for v in scored(views) if (point := retention_point(v)) is not None]
    trials = [point for t in summary.frontier if (point := trial_point(t, views, summary.metric)) is not None]
    if not any(worst(v.arm) for v in views) or len(points) + len(trials) < 3:
        return None
    margins = {verdict.margin for v in views for verdict in v.arm.suites}
    margin = margins.pop() if len(margins) == 1 else None
    x_values = [x for p in points for x in (p.x, *(p.x_range or ()))] + [p.x for p in trials]
    y_values = [y for p in points for y in (p.y, *(p.y_range or ()))] + [p.y for p in trials] + [0.0]
    bits = metric_unit(summary.metric) != "points"
    x_axis = Axis.around(x_values, lambda value: f"{value:.3g}" if bits else f"{100 * value:.4g}")
    y_axis = Axis.around(y_values, lambda value: change_text(value, digits=0 if _whole(y_values) else 1))
    front = sorted((p.x, p.y) for p in points if "open" not in p.class_)
    chart = scatter(
        points,
        trials,
        x_axis,
        y_axis,
        description="Target score against the worst change of a retained suite, one marker per arm",
        path=front,
        level=-margin if margin else None,
    )
    lower = any(not v.arm.target.higher_is_better for v in views)
    by_worst = any(trial.worst_change is not None for trial in summary.frontier)
    return Retention(chart, len(trials), by_worst, margin, lower)


def _whole(values: Sequence[float]) -> bool:
    """True where ticks in whole points are fine enough."""
    return max(values) - min(values) > 0.06


@dataclass(frozen=True)
class MatrixRow:
    """One retained suite: what it was before, and a verdict (or None) for every column."""

    suite: str
    first: SuiteVerdict
    cells: tuple[tuple[ArmView, SuiteVerdict | None, str], ...]  # arm, verdict, where the items are


def matrix(views: Sequence[ArmView], run: Path) -> tuple[MatrixRow, ...]:
    """Suites by arms; arms without suites have no column."""
    columns = [v for v in views if v.arm.suites]
    names = dict.fromkeys(verdict.suite for v in columns for verdict in v.arm.suites)
    rows = []
    for name in names:
        found = [next((verdict for verdict in v.arm.suites if verdict.suite == name), None) for v in columns]
        first = next(verdict for verdict in found if verdict is not None)
        files = [records_file(run, v.arm, name) for v in columns]
        rows.append(MatrixRow(name, first, tuple(zip(columns, found, files, strict=True))))
    return tuple(rows)


def tradeoffs(views: Sequence[ArmView], metric: str) -> tuple[Tradeoff, ...]:
    """Parameters, memory, training speed, quality and inference cost; those without a number are left out.

    Quality alone is no trade-off: then there are none.
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
    made = []
    for title, hint, value, write in asked:
        values = [value(v.arm.costs) for v in views]
        largest = max((x for x in values if x is not None), default=0.0)
        if largest <= 0:
            continue
        rows = [
            Row(v, MISSING if x is None else write(x), Markup("") if x is None else bar(x, largest, v.chosen))
            for v, x in zip(views, values, strict=True)
        ]
        made.append(Tradeoff(title, hint, tuple(rows)))
    quality = _quality(scored(views), metric)
    if quality and made:
        made.insert(len(made) - sum(item.title == "Inference cost" for item in made), quality)
    return tuple(made)


def _quality(views: Sequence[ArmView], metric: str) -> Tradeoff | None:
    """The target scores once more, small, beside what they cost."""
    if not views:
        return None
    axis = score_axis(views, metric)
    rows = [
        Row(v, metric_number(v.arm.target.mean, metric), score_strip(axis, v.arm.target, v.shape, v.class_, 14))
        for v in views
    ]
    better = "higher" if views[0].arm.target.higher_is_better else "lower"
    return Tradeoff("Quality", f"{metric_name(metric)}; {better} is better", tuple(rows))


def cost_columns(views: Sequence[ArmView]) -> tuple[Column, ...]:
    """The columns of the cost table that hold at least one number."""
    asked: list[tuple[str, Callable[[Costs], str]]] = [
        ("Trained parameters", _parameters),
        ("Peak memory", lambda c: _maybe(c.peak_memory_bytes, human_bytes)),
        ("Training time", lambda c: _maybe(c.train_seconds, human_seconds)),
        ("Tokens per second", lambda c: count(c.tokens_per_second)),
        ("Trained tokens", lambda c: _maybe(c.trained_tokens, human_count)),
        ("Tokens per request", lambda c: count(c.tokens_per_request)),
        ("Time per request", lambda c: _maybe(c.seconds_per_request, lambda s: f"{1000 * s:.0f} ms")),
        ("Size on disk", lambda c: _maybe(c.bytes_on_disk, human_bytes)),
        ("Pays off after requests", lambda c: count(c.break_even_requests)),
    ]
    columns = [Column(title, tuple(write(v.arm.costs) for v in views)) for title, write in asked]
    return tuple(column for column in columns if any(cell != MISSING for cell in column.cells))


def _maybe(value: float | None, write: Callable[[float], str]) -> str:
    return write(value) if value is not None and known(value) else MISSING


def _parameters(costs: Costs) -> str:
    if costs.trainable_parameters == 0:
        return "0" if costs.total_parameters else MISSING
    part = costs.trainable_parameters / costs.total_parameters if costs.total_parameters else None
    return f"{human_count(costs.trainable_parameters)}{f' ({share(part)})' if part is not None else ''}"


def shot_arms(views: Sequence[ArmView]) -> tuple[ArmView, ...]:
    """Prompting arms by the number of shots; none where prompting was not varied."""
    arms = [
        v for v in views if v.arm.shots is not None and not v.trained and v.arm.costs.tokens_per_request is not None
    ]
    return tuple(sorted(arms, key=lambda v: v.arm.shots or 0)) if len(arms) > 1 else ()


def shots_chart(views: Sequence[ArmView], metric: str) -> Markup | None:
    """Tokens per request against target score; prompting arms joined in the order of their shots."""
    shots = shot_arms(views)
    priced = [v for v in scored(views) if v.arm.costs.tokens_per_request is not None]
    if not shots or not priced:
        return None
    points = []
    for v in priced:
        low, high = v.arm.target.interval.low, v.arm.target.interval.high
        tokens = v.arm.costs.tokens_per_request or 0.0
        class_ = v.class_ if v.trained or v.chosen else f"{v.class_} open"
        title = f"{v.label}: {count(tokens)} tokens per request, {score_text(v.arm.target)}"
        points.append(Point(v.label, tokens, v.arm.target.mean, None, (low, high), v.shape, class_, title))
    x_axis = Axis.around([0.0, *(p.x for p in points)], lambda value: f"{value:,.0f}")
    y_axis = score_axis(priced, metric)
    path = [(p.x, p.y) for v in shots for p in points if p.name == v.label]
    description = "Prompt tokens per request against target score, one marker per arm"
    return scatter(points, (), x_axis, y_axis, description=description, path=path)


@dataclass(frozen=True)
class Answer:
    """One arm's answer to a sample item."""

    label: str
    chosen: bool
    text: Markup
    score: float | None


@dataclass(frozen=True)
class Sample:
    """A test item with its answers, differences marked."""

    id: str
    prompt: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]
    against: str  # what the marks compare with


def samples(summary: Summary, views: Sequence[ArmView]) -> tuple[Sample, ...]:
    """The first sample outputs, cut to a readable length."""
    return tuple(_sample(sample, views) for sample in summary.samples[:SAMPLE_LIMIT])


def _sample(sample: SampleOutput, views: Sequence[ArmView]) -> Sample:
    labels = {v.arm.name: v for v in views}
    outputs = {name: clip(text, OUTPUT_LENGTH) for name, text in sample.outputs.items()}
    first = next(iter(outputs), "")
    references = tuple(clip(text, OUTPUT_LENGTH) for text in sample.references)
    answers = []
    for name, text in outputs.items():
        view = labels.get(name)
        compared = references or (() if name == first else (outputs[first],))
        marked = mark_differences(text, compared)
        label = view.label if view else name
        answers.append(Answer(label, bool(view and view.chosen), marked, sample.scores.get(name)))
    against = "the closest reference" if references else f"the answer of {first}"
    return Sample(sample.id, clip(sample.prompt, PROMPT_LENGTH), references, tuple(answers), against)
