"""`keeptune demo`: the built-in study, from nothing to a verdict, without network or data of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, Track, Verbose, print_decision, progress_console, tracked


def demo(
    quick: Annotated[
        bool, typer.Option(help="Fewer items and one rate per method: a verdict in a minute or two.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/demo or runs/demo-quick.")] = None,
    track: Track = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.field=value, as in a recipe.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Prompting, full fine-tuning and LoRA on a task made to expose forgetting. Finished arms are skipped."""
    from keeptune.api.study import load_recipe
    from keeptune.builtin import recipe_path
    from keeptune.cli.command_line import command_line

    whole = load_recipe(recipe_path("demo-quick" if quick else "demo"), [*(overrides or ()), *tracked(track)])
    console = progress_console(quiet, as_json)
    result = whole.run(out, overwrite=overwrite, console=console, command=command_line())
    print_decision(result.summary, result.folder, quiet, as_json)
