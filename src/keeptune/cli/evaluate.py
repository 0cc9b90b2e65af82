"""`keeptune evaluate`: one model on one task, zero- to k-shot, with intervals and what the shots cost."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.data import FieldMap, field_map
from keeptune.cli.options import AsJson, Overwrite, print_json, progress_console


def evaluate(
    model: Annotated[str, typer.Option(help="Hub name, local folder, or 'builtin'.")],
    task: Annotated[list[str], typer.Option(help="A data file, a text file, a task's YAML file, or builtin:name.")],
    adapter: Annotated[Path | None, typer.Option(help="An adapter folder, as peft saves it.")] = None,
    shots: Annotated[str, typer.Option(help="Numbers of demonstrations, for example 0,1,4.")] = "0",
    draws: Annotated[int, typer.Option(min=1, help="Draws of the demonstrations, averaged.")] = 3,
    part: Annotated[str, typer.Option(help="validation or test.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Score at most so many items.")] = None,
    template: Annotated[str, typer.Option(help="fixed, or each: average over all wordings.")] = "fixed",
    on_leak: Annotated[str, typer.Option(help="error, or drop: see `keeptune train`.")] = "error",
    fields: FieldMap = None,
    precision: Annotated[str, typer.Option(help="auto, bf16 or fp32.")] = "auto",
    quantise: Annotated[str, typer.Option(help="How the linear layers are stored: none, nf4 or int8.")] = "none",
    out: Annotated[Path | None, typer.Option(help="Write item records and a manifest into this folder.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score a model on tasks and free texts; prints the mean with its interval, items, and tokens per request."""
    from keeptune.cli.run_folder import run_folder
    from keeptune.core.config import validate
    from keeptune.core.errors import ConfigError
    from keeptune.recipe.begun import begun_evaluation
    from keeptune.recipe.files import named_entries
    from keeptune.recipe.scoring import ScoringConfig

    try:
        numbers = tuple(int(number) for number in shots.split(","))
    except ValueError as error:
        raise ConfigError(f"'{shots}' is not a list of numbers", where="--shots", remedy="write 0,1,4") from error
    values = {
        "model": model,
        "adapter": adapter,
        "tasks": task,
        "shots": numbers,
        "draws": draws,
        "part": part,
        "limit": limit,
        "template": template,
        "on_leak": on_leak,
        "fields": field_map(fields),
        "precision": precision,
        "quantise": quantise,
    }
    settings = validate(ScoringConfig, values, source="keeptune evaluate")
    entries = named_entries(settings.tasks, settings.on_leak, fields=settings.fields)
    console = progress_console(False, as_json)
    if out is not None:
        run_folder(begun_evaluation(settings, entries), out, out, overwrite=overwrite, console=console)

    from keeptune.compare.scores import (  # imports torch: what is wrong with the command is said before
        score_tasks,
        scores_table,
    )

    command = shlex.join(["keeptune", *sys.argv[1:]])
    rows = score_tasks(settings, console, out, command=command)
    if as_json:
        print_json([row.record() for row in rows])
    else:
        console.print(scores_table(rows))
