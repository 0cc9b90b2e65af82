"""`keeptune study`: the main job, from a recipe to a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: section.field=value. May be repeated.")
]
Track = Annotated[
    list[str] | None,
    typer.Option("--track", help="Also tell mlflow, wandb, tensorboard, trackio or your own. May be repeated."),
]


def tracked(track: list[str] | None) -> list[str]:
    """--track as an override of a recipe's ``trackers``."""
    return [f"trackers=[{', '.join(track)}]"] if track else []


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
) -> None:
    """Prompt, fine-tune, score target and retained skills, and recommend. Finished arms are skipped."""
    from keeptune.api.study import load_recipe
    from keeptune.cli.command_line import command_line

    limits = [f"budget={budget}"] if budget else []
    load_recipe(recipe, [*(overrides or ()), *limits, *tracked(track)], data_root=data).run(out, command=command_line())
