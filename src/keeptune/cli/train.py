"""`keeptune train`: one method on your data, no configuration needed. A study with one arm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from keeptune.cli.data import FieldMap, field_map
from keeptune.cli.options import AsJson, Overwrite, Quiet, Track, Verbose, print_decision, progress_console, tracked
from keeptune.cli.ranks import Processes, main_process

Searched = Annotated[
    bool | None,
    typer.Option(
        "--search/--no-search", help="Search for an arm that keeps what is retained; default: where something is."
    ),
]


def train(
    model: Annotated[str, typer.Option(help="Hub name, local folder, or 'builtin'.")],
    data: Annotated[
        list[str], typer.Option(help="A file, a folder of split files, or hf:owner/name. May be repeated.")
    ],
    method: Annotated[Literal["lora", "full"], typer.Option(help="What is trained.")] = "lora",
    retain: Annotated[
        list[str] | None,
        typer.Option(help="What must not get worse: a data file, a text file, a task's YAML file. May be repeated."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Points that a retained task may lose.")] = None,
    search: Searched = None,
    rate: Annotated[
        list[float] | None,
        typer.Option("--rate", "--lr", help="Peak learning rate; several are tried. Default: a grid of four."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many rates of the grid are tried, those in its middle.")
    ] = None,
    on_leak: Annotated[
        Literal["error", "drop"], typer.Option(help="error, or drop: rows that leak across the parts leave training.")
    ] = "error",
    fields: FieldMap = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/train, numbered where another run is there.")
    ] = None,
    track: Track = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.field=value, as in a recipe.")] = None,
    nproc: Processes = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Split, train, and print base against tuned on the held-out rows, with an interval."""
    from keeptune.recipe.files import named_entries

    columns = field_map(fields)
    named_entries(data, on_leak, fields=columns)  # methods import torch: a missing file is said before
    named_entries(retain or (), margin=margin)

    from keeptune.api.study import training
    from keeptune.cli.command_line import command_line

    study = training(
        model,
        data,
        method=method,
        retain=retain,
        margin=margin,
        search=search,
        rates=rate or (),
        trials=trials,
        on_leak=on_leak,
        fields=columns,
        overrides=[*(overrides or ()), *tracked(track)],
    )
    console = progress_console(quiet, as_json)
    with main_process(nproc, study.config) as (world, study.config):
        result = study.run(out, overwrite=overwrite, console=console, command=command_line(), world=world)
        print_decision(result.summary, result.folder, quiet, as_json)
