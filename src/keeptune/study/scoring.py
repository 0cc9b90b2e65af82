"""`keeptune evaluate` without the command line: scores of one model, no training, no verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from rich.console import Console
from rich.table import Table

from keeptune.core.config import Config, validate
from keeptune.core.records import Score, write_records
from keeptune.core.units import points
from keeptune.evaluate.cache import EvaluationCache, cache_folder
from keeptune.evaluate.runner import Evaluation
from keeptune.evaluate.task import Judged, Task
from keeptune.models.load import load
from keeptune.recipe.entries import RetainList, entries_of
from keeptune.recipe.files import check_files
from keeptune.recipe.tasks import build_entry
from keeptune.retention.scores import score
from keeptune.study.messages import progress
from keeptune.study.prompting import mean_over_draws


class ScoringConfig(Config):
    """What to score."""

    model: str
    tasks: tuple[str, ...]
    adapter: Path | None = None
    shots: tuple[int, ...] = (0,)
    draws: int = Field(3, ge=1)
    part: Literal["validation", "test"] = "test"
    limit: int | None = None
    template: Literal["fixed", "each"] = "fixed"
    on_leak: Literal["error", "drop"] = "error"
    fields: dict[str, str] | None = None  # role -> column, of data files
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    @field_validator("shots")
    @classmethod
    def _not_negative(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(k < 0 for k in value):
            raise ValueError("give numbers of shots, 0 or more")
        return value


@dataclass(frozen=True)
class Row:
    """One task under one number of shots."""

    task: str
    shots: int
    score: Score
    evaluation: Evaluation  # of the first draw


def score_tasks(config: ScoringConfig, console: Console, out: Path | None = None) -> list[Row]:
    """Score every task under every number of shots; writes item records below ``out``.

    Raises:
        KeeptuneError: data or model cannot be used.
    """
    tasks = build_tasks(config.tasks, config.on_leak, fields=config.fields)  # before the model: what is missing is said
    lm = load(config.model, adapter=config.adapter, precision=config.precision)
    cache = EvaluationCache(cache_folder())
    rows = []
    for task in tasks:
        for shots in config.shots if task.request != "text" else (0,):
            runs = []
            for draw in range(config.draws if shots else 1):
                with progress(console, f"{task.name}, {shots}-shot") as update:
                    runs.append(
                        cache.evaluate(
                            lm,
                            task,
                            config.part,
                            shots=shots,
                            draw=draw,
                            template=config.template if task.request != "text" else "fixed",
                            limit=config.limit,
                            progress=update,
                        )
                    )
            items = mean_over_draws(runs)
            kind = "mean" if len(runs) > 1 and runs[0].kind == "binary" else runs[0].kind
            rows.append(Row(task.name, task.asked_shots(shots), score(items, runs[0].metric, kind), runs[0]))
            if out is not None:
                write_records(out / f"{task.name}-{shots}shot.jsonl", items)
    return rows


def build_tasks(
    specs: Sequence[str],
    on_leak: str = "error",
    margin: float | None = None,
    fields: Mapping[str, str] | None = None,
    judged: Judged | None = None,
) -> list[Task]:
    """Tasks from what a command line names (see `config.entries_of`); ``fields`` maps the columns of data files,
    ``judged`` says that nothing trains on them.

    Raises:
        KeeptuneError: a file is missing or cannot be used.
    """
    entries = [entry for spec in specs for entry in entries_of(spec, margin)]
    for entry in entries:
        if "data" in entry:
            entry |= {"split": {"on_leak": on_leak}, "fields": dict(fields) if fields else None}
    checked = validate(RetainList, {"entries": entries}, source="command line")
    check_files(checked.entries)
    return [build_entry(entry, judged=judged) for entry in checked.entries]


def scores_table(rows: Sequence[Row]) -> Table:
    """The scores as people read them."""
    table = Table(title="Scores", caption="95 % intervals; tokens are those of the prompt")
    for name in ("task", "shots", "metric", "score", "interval", "items", "tokens", "window"):
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")
    for row in rows:
        value, run = row.score, row.evaluation

        def shown(number: float, fraction: bool = value.higher_is_better) -> str:
            return points(number) if fraction else f"{number:.3f}"

        table.add_row(
            row.task,
            str(row.shots),
            value.metric,
            shown(value.mean),
            f"{shown(value.interval.low)} to {shown(value.interval.high)}",
            f"{value.n:,}",
            f"{run.tokens_per_request:.0f}",
            f"{100 * run.window_share:.0f} %",
        )
    return table
