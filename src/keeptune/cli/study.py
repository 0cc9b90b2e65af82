"""`keeptune study`: the main job, from a recipe to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, Track, print_decision, progress_console, tracked
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
    overrides: Overrides = None,
    nproc: Processes = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.api.study import load_recipe
    from keeptune.cli.command_line import command_line

    limits = [f"budget={budget}"] if budget else []
    whole = load_recipe(recipe, [*(overrides or ()), *limits, *tracked(track)], data_root=data)
    console = progress_console(quiet, as_json)
    with main_process(nproc, whole.config) as (world, whole.config):
        result = whole.run(out, overwrite=overwrite, console=console, command=command_line(), world=world)
        print_decision(result.summary, result.folder, quiet, as_json)
