"""`keeptune study`: the main job, from a recipe to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, print_decision, progress_console

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
    overrides: Overrides = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.core.config import parse_recipe, recipe_text

    text = recipe_text(recipe)

    from keeptune.cli.run_folder import run_folder  # methods, which recipes name, import torch
    from keeptune.recipe.begun import begun_study
    from keeptune.recipe.config import StudyConfig

    limits = [f"budget={budget}"] if budget else []
    config = parse_recipe(StudyConfig, text, source=str(recipe), overrides=[*(overrides or ()), *limits])
    console = progress_console(quiet, as_json)
    folder = run_folder(
        begun_study(config, data), Path("runs") / recipe.stem, out, overwrite=overwrite, console=console
    )

    from keeptune.study.run import run_study  # imports torch: what is wrong with the command is said before

    print_decision(run_study(config, folder, data_root=data, console=console), folder, quiet, as_json)
