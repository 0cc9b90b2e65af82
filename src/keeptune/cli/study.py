"""`keeptune study`: the main job, from a recipe to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, print_decision, progress_console
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
    on: Annotated[
        str | None, typer.Option(help="Where jobs are done: ray, or ray://host:6379; default: on this machine.")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option(help="Storage that holds a copy of the run folder: s3://bucket/run, gs://, a folder.")
    ] = None,
    overrides: Overrides = None,
    nproc: Processes = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.cli.run_folder import run_folder
    from keeptune.core.config import read_recipe
    from keeptune.recipe.begun import begun_study
    from keeptune.recipe.config import StudyConfig

    limits = [f"budget={budget}"] if budget else []
    config = read_recipe(StudyConfig, recipe, [*(overrides or ()), *limits])
    console, default = progress_console(quiet, as_json), Path("runs") / recipe.stem
    with main_process(nproc, config, on, out or default) as (world, config):
        folder = run_folder(begun_study(config, data), default, out, overwrite=overwrite, console=console)

        from keeptune.study.run import run_study  # imports torch: what is wrong with the command is said before

        cluster = on if world.size == 1 else None  # whose workers are the processes of this world
        summary = run_study(config, folder, data_root=data, console=console, on=cluster, mirror=mirror, world=world)
        print_decision(summary, folder, quiet, as_json)
