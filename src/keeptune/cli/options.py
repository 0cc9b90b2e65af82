"""Options that all or several commands have, and what they print by them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keeptune.core.verbose import speak

if TYPE_CHECKING:
    from rich.console import Console

    from keeptune.core.records import Summary


def _speak(context: typer.Context, value: bool) -> bool:
    if value:
        context.call_on_close(speak(lambda line: print(line, file=sys.stderr)))
    return value


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the run that is in the folder, and begin anew.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on the output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print what it came to and nothing else.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_speak, help="Also say what is decided and what is read from caches, as errors are."
    ),
]


def progress_console(quiet: bool, as_json: bool) -> Console:
    """Where progress and tables go: the output, or nowhere."""
    from rich.console import Console

    return Console(quiet=quiet or as_json)


def print_decision(summary: Summary, folder: Path, quiet: bool, as_json: bool) -> None:
    """What is left to say at the end of a run that was told to say little."""
    if as_json:
        print_json(summary)
    elif quiet:
        typer.echo(summary.recommendation.headline)
        typer.echo(f"report: {folder / 'report.html'}")


def print_json(found: Any) -> None:
    """One document: a record, or a list of records."""
    from keeptune.core.documents import document

    typer.echo(document(found))


Track = Annotated[
    list[str] | None,
    typer.Option("--track", help="Also tell mlflow, wandb, tensorboard, trackio or your own. May be repeated."),
]


def tracked(track: list[str] | None) -> list[str]:
    """--track as an override of a recipe's ``trackers``."""
    return [f"trackers=[{', '.join(track)}]"] if track else []
