"""Writes report.html: the records of a run as one self-contained page.

The page needs no network and carries a content security policy that forbids any: its style and its script
are inlined and named by their hashes, and no element has a style attribute or an event handler.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from keeptune.core.errors import DataError
from keeptune.core.records import Record, StepRecord, Summary, ValidationRecord, read_json, read_records
from keeptune.core.units import human_seconds
from keeptune.report import view, wording
from keeptune.report.plots import change_strip, loss_axis, loss_chart
from keeptune.report.svg import Axis

CONFIG_LENGTH = 20_000  # characters of the resolved configuration that the page shows

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Curve:
    """Loss curves of one arm."""

    label: str
    chart: Markup
    steps: int
    files: str
    kept: ValidationRecord | None  # the checkpoint that was kept
    note: str | None  # what is wrong with the records


def write_report(run: Path) -> Path:
    """Read the records of a run and write run/report.html.

    Returns:
        The path of the page, at most 3 MB.

    Raises:
        DataError: run/summary.json is missing or is not a Summary.
    """
    page = render(read_json(run / "summary.json", Summary), run)
    path = run / "report.html"
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def render(summary: Summary, run: Path) -> str:
    """The page as text; `run` is only read for the curves and to see which record files exist."""
    environment = _environment()
    views = view.arm_views(summary, run)
    style = Markup(_text(environment, "style.css"))
    script = Markup(_text(environment, "script.js"))
    rows, axis = view.score_rows(views, summary.metric) if view.scored(views) else ((), Markup(""))
    return environment.get_template("page.html.j2").render(
        summary=summary,
        views=views,
        style=style,
        script=script,
        policy=_policy(style, script),
        score_rows=rows,
        score_axis=axis,
        retention=view.retention_chart(summary, views),
        matrix=view.matrix(views, run),
        tradeoffs=view.tradeoffs(views, summary.metric),
        cost_columns=view.cost_columns(views),
        shot_arms=view.shot_arms(views),
        shots_chart=view.shots_chart(views, summary.metric),
        curves=curves(views, run),
        samples=view.samples(summary, views),
        config=wording.clip(json.dumps(summary.manifest.config, indent=2, ensure_ascii=False), CONFIG_LENGTH),
    )


def curves(views: Sequence[view.ArmView], run: Path) -> tuple[Curve, ...]:
    """Loss curves of every arm that has records, on one scale."""
    read = []
    for v in views:
        if not v.arm.folder:
            continue
        folder = run / v.arm.folder
        steps, fault = _readable(folder / "steps.jsonl", StepRecord)
        validation, other_fault = _readable(folder / "validation.jsonl", ValidationRecord)
        if steps or validation:
            read.append((v, steps, validation, fault or other_fault))
    if not read:
        return ()
    losses = [loss for _, steps, validation, _ in read for loss in loss_axis(steps, validation)]
    axis = Axis.around(losses, lambda value: f"{value:.3g}", wanted=4)
    made = []
    for v, steps, validation, fault in read:
        chart = loss_chart(steps, validation, axis, f"Training and validation loss of {v.label}")
        kept = max((r for r in validation if r.best), key=lambda r: r.step, default=None)
        files = f"{v.arm.folder}/steps.jsonl, validation.jsonl"
        made.append(Curve(v.label, chart, len(steps), files, kept, fault))
    return tuple(made)


def _readable(path: Path, kind: type[R]) -> tuple[list[R], str | None]:
    """The records before the first bad line, and what is wrong with that line: a curve may be cut short."""
    records: list[R] = []
    if not path.is_file():
        return records, None
    try:
        for record in read_records(path, kind):
            records.append(record)
    except DataError as error:
        return records, f"{path.name} ends at line {error.line}: {error.message}"
    return records, None


@functools.cache
def _environment() -> Environment:
    """The templates, compiled once per process."""
    environment = Environment(
        loader=PackageLoader("keeptune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = ["change_interval", "change_text", "change_unit", "clip", "count", "headline_text", "interval_text"]
    names += [
        "level_text",
        "metric_name",
        "metric_number",
        "metric_unit",
        "p_text",
        "rate_text",
        "score_text",
        "sentence_case",
    ]
    names += ["share", "size_text"]
    environment.filters.update({name: getattr(wording, name) for name in names})
    environment.filters.update(
        change_strip=change_strip,
        human_seconds=human_seconds,
        verdict_counts=view.verdict_counts,
        worst=view.worst,
    )
    return environment


def _text(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _policy(style: str, script: str) -> str:
    """Nothing may be fetched; only this page's own style and script may act."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
