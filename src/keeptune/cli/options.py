"""Options that several commands have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Remove the run that is in the folder, and begin anew.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on the output.")]


def print_json(found: BaseModel | Sequence[BaseModel]) -> None:
    """One document: a record, or a list of records."""
    values = (
        [each.model_dump(mode="json") for each in found]
        if isinstance(found, Sequence)
        else found.model_dump(mode="json")
    )
    typer.echo(json.dumps(values, indent=1, ensure_ascii=False))
