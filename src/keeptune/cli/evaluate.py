"""`keeptune evaluate`: one model on one task, zero- to k-shot, with intervals and what the shots cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.data import FieldMap, field_map
from keeptune.cli.options import AsJson, Overwrite, Quiet, Verbose, print_json, progress_console


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
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Score a model on tasks and free texts; prints the mean with its interval, items, and tokens per request."""
    from keeptune.api import evaluate as api
    from keeptune.cli.command_line import command_line
    from keeptune.core.errors import ConfigError

    try:
        numbers = tuple(int(number) for number in shots.split(","))
    except ValueError as error:
        raise ConfigError(f"'{shots}' is not a list of numbers", where="--shots", remedy="write 0,1,4") from error
    console = progress_console(quiet, as_json)
    scores = api.evaluate(
        model,
        task,
        adapter=adapter,
        shots=numbers,
        draws=draws,
        part=part,
        limit=limit,
        template=template,
        on_leak=on_leak,
        fields=field_map(fields),
        precision=precision,
        quantise=quantise,
        out=out,
        overwrite=overwrite,
        console=console,
        command=command_line(),
    )
    if as_json:
        print_json(scores.rows)
        return
    from keeptune.compare.scores import scores_table
    from keeptune.report.formatting import metric_number

    console.print(scores_table(scores.rows))
    if quiet:
        for row in scores:
            mean = metric_number(row.score.mean, row.score.metric)
            typer.echo(f"{row.task}, {row.shots}-shot: {mean} {row.score.metric}")
