"""`keeptune demo`: the built-in study, from nothing to a verdict, without network or data of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, print_decision, progress_console


def demo(
    quick: Annotated[
        bool, typer.Option(help="Fewer items and one rate per method: a verdict within a minute.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/demo or runs/demo-quick.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.field=value, as in a recipe.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Prompting, full fine-tuning and LoRA on a task made to expose forgetting. Finished arms are skipped."""
    from keeptune.builtin import recipe_path
    from keeptune.cli.run_folder import run_folder
    from keeptune.core.config import read_recipe
    from keeptune.recipe.begun import begun_study
    from keeptune.recipe.config import StudyConfig

    name = "demo-quick" if quick else "demo"
    config = read_recipe(StudyConfig, recipe_path(name), overrides or ())
    console = progress_console(quiet, as_json)
    folder = run_folder(begun_study(config), Path("runs") / name, out, overwrite=overwrite, console=console)

    from keeptune.study.run import run_study  # imports torch: what is wrong with the command is said before

    print_decision(run_study(config, folder, console=console), folder, quiet, as_json)
