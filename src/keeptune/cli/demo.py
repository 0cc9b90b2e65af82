"""`keeptune demo`: the built-in study, from nothing to a verdict, without network or data of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.study import Track, tracked


def demo(
    quick: Annotated[
        bool, typer.Option(help="Fewer items and one rate per method: a verdict within a minute.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/demo or runs/demo-quick.")] = None,
    track: Track = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.field=value, as in a recipe.")] = None,
) -> None:
    """Prompting, full fine-tuning and LoRA on a task made to expose forgetting. Finished arms are skipped."""
    from keeptune.api.study import load_recipe
    from keeptune.builtin import recipe_path
    from keeptune.cli.command_line import command_line

    recipe = recipe_path("demo-quick" if quick else "demo")
    load_recipe(recipe, [*(overrides or ()), *tracked(track)]).run(out, command=command_line())
