"""`keeptune study`: the main job, from a recipe to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    search: Annotated[
        bool, typer.Option("--search", help="Also search for an arm that keeps every retained suite.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.cli.run_folder import run_folder
    from keeptune.core.config import read_recipe
    from keeptune.recipe.begun import begun_study
    from keeptune.recipe.config import StudyConfig, with_search

    limits = [f"budget={budget}"] if budget else []
    config = read_recipe(StudyConfig, recipe, [*(overrides or ()), *limits])
    config = with_search(config) if search else config
    folder = run_folder(begun_study(config, data), Path("runs") / recipe.stem, out)

    from keeptune.study.run import run_study  # imports torch: what is wrong with the command is said before

    run_study(config, folder, data_root=data)
