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
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/<name of the recipe>.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Wall time, such as 4h or 30min: trainings are dropped in a stated order.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.core.config import read_recipe
    from keeptune.recipe.config import StudyConfig
    from keeptune.study.run import run_study

    limits = [f"budget={budget}"] if budget else []
    config = read_recipe(StudyConfig, recipe, [*(overrides or ()), *limits])
    run_study(config, out or Path("runs") / recipe.stem, data_root=data)
