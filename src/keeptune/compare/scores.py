"""`keeptune evaluate` without the command line: scores of one model, no training, no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from keeptune.compare.lm_eval_files import Scored, write_lm_eval
from keeptune.core.files import cache_folder
from keeptune.core.records import Record, Score, write_json, write_records
from keeptune.core.units import points
from keeptune.evaluate.cache import EvaluationCache
from keeptune.models.load import load
from keeptune.recipe.begun import begin, begun_evaluation
from keeptune.recipe.files import named_entries
from keeptune.recipe.scoring import ScoringConfig
from keeptune.recipe.tasks import build_entry
from keeptune.report.formatting import scored_in
from keeptune.retention.scores import score
from keeptune.study.manifest import manifest_of
from keeptune.study.messages import progress
from keeptune.study.prompting import mean_over_draws


class TaskShots(Record):
    """The score of a model on one task under one number of shots, and what asking costs."""

    task: str
    shots: int
    score: Score
    precision: str  # that the model computes in: 'float32'
    stored: str  # how its linear layers are stored: 'none', 'nf4'
    tokens_per_request: float  # mean prompt tokens, of the first draw
    window_share: float  # of the context window


def score_tasks(
    config: ScoringConfig, console: Console, out: Path | None = None, *, command: str = "keeptune evaluate"
) -> list[TaskShots]:
    """Score every task under every number of shots.

    Below ``out`` it writes item records, a manifest, and the same scores as files of lm-eval.

    ``command`` is what the manifest quotes.

    Raises:
        KeeptuneError: data or model cannot be used.
    """
    started = datetime.now(UTC)
    entries = named_entries(config.tasks, config.on_leak, fields=config.fields)
    tasks = [build_entry(entry) for entry in entries]  # before the model: what is missing is said
    lm = load(config.model, adapter=config.adapter, precision=config.precision, quantise=config.quantise)
    if out is not None:
        manifest = manifest_of(lm, config.model_dump(mode="json"), tasks, command=command, started=started)
        write_json(out / "manifest.json", manifest)
        begin(out, begun_evaluation(config, entries))
    cache = EvaluationCache(cache_folder())
    rows, scored = [], []
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
            measured = score(items, runs[0].metric, kind)
            row = TaskShots(
                task=task.name,
                shots=task.asked_shots(shots),
                score=measured,
                precision=str(lm.dtype).removeprefix("torch."),
                stored=config.quantise,
                tokens_per_request=runs[0].tokens_per_request,
                window_share=runs[0].window_share,
            )
            rows.append(row)
            scored.append(Scored(task.name, shots, measured, items))
            if out is not None:
                write_records(out / f"{task.name}-{shots}shot.jsonl", items)
    if out is not None:
        write_lm_eval(out / "lm_eval", config.model, started.isoformat(timespec="seconds"), scored)
    return rows


def scores_table(rows: Sequence[TaskShots]) -> Table:
    """The scores as a table for the terminal."""
    scored = "; ".join(dict.fromkeys(scored_in(row.precision, row.stored) for row in rows))
    table = Table(title="Scores", caption=f"95 % intervals; tokens are those of the prompt; {scored}")
    for name in ("task", "shots", "metric", "score", "interval", "items", "tokens", "window"):
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")
    for row in rows:
        value = row.score

        def shown(number: float, fraction: bool = value.higher_is_better) -> str:
            return points(number) if fraction else f"{number:.3f}"

        table.add_row(
            row.task,
            str(row.shots),
            value.metric,
            shown(value.mean),
            f"{shown(value.interval.low)} to {shown(value.interval.high)}",
            f"{value.n:,}",
            f"{row.tokens_per_request:.0f}",
            f"{100 * row.window_share:.0f} %",
        )
    return table
