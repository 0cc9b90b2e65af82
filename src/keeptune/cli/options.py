"""Options that several commands have, and what they print by them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

    from keeptune.core.records import Summary

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the run that is in the folder, and begin anew.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on the output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the decision and nothing else.")]


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


def print_json(found: BaseModel | Sequence[BaseModel]) -> None:
    """One document: a record, or a list of records."""
    values: object
    if isinstance(found, Sequence):
        values = [each.model_dump(mode="json") for each in found]
    else:
        values = found.model_dump(mode="json")
    typer.echo(json.dumps(values, indent=1, ensure_ascii=False))


Track = Annotated[
    list[str] | None,
    typer.Option("--track", help="Also tell mlflow, wandb, tensorboard, trackio or your own. May be repeated."),
]


def tracked(track: list[str] | None) -> list[str]:
    """--track as an override of a recipe's ``trackers``."""
    return [f"trackers=[{', '.join(track)}]"] if track else []
