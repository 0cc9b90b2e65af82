"""`keeptune study`: the main job, from a recipe to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, Track, Verbose, print_decision, progress_console, tracked
from keeptune.cli.ranks import Processes, main_process

Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: section.field=value. May be repeated.")
]


def study(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.")],
    data: Annotated[Path, typer.Option(help="Relative data paths of the recipe are below this folder.")] = Path(),
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/<name of the recipe>, numbered where another run is there."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wall time, such as 4h or 30min: trainings are dropped in a stated order.")
    ] = None,
    track: Track = None,
    on: Annotated[
        str | None, typer.Option(help="Where jobs are done: ray, or ray://host:6379; default: on this machine.")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Storage that holds a copy of the run folder: s3://bucket/run, gs://, a folder.")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Also search for an arm that keeps every retained suite.")
    ] = False,
    overrides: Overrides = None,
    nproc: Processes = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.recipe.named import check_named

    check_named(recipe, overrides or (), data)  # methods, which recipes name, import torch

    from keeptune.api.study import load_recipe
    from keeptune.cli.command_line import command_line
    from keeptune.recipe.config import with_search

    limits = [f"budget={budget}"] if budget else []
    whole = load_recipe(recipe, [*(overrides or ()), *limits, *tracked(track)], data_root=data)
    if search:
        whole.config = with_search(whole.config)
    console = progress_console(quiet, as_json)
    with main_process(nproc, whole.config, on, out or whole.folder) as (world, whole.config):
        result = whole.run(
            out,
            overwrite=overwrite,
            console=console,
            command=command_line(),
            world=world,
            on=on if world.size == 1 else None,  # a cluster's workers are the processes of a larger world
            mirror=mirror,
        )
        print_decision(result.summary, result.folder, quiet, as_json)
