"""`keeptune recipe`: what a recipe may say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json

if TYPE_CHECKING:
    from rich.text import Text

    from keeptune.recipe.reference import FieldRow


def recipe(
    section: Annotated[
        str, typer.Argument(help="Whose fields to list: recipe, train, lora, remedies.kl, task, text ...")
    ] = "recipe",
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema, which editors check with.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """List the fields of a recipe, or of one of its sections: type, default, meaning."""
    from rich.console import Console
    from rich.table import Table

    from keeptune.core.errors import ConfigError
    from keeptune.core.registry import either
    from keeptune.recipe.reference import recipe_schema, sections

    if schema:
        typer.echo(json.dumps(recipe_schema(), indent=2))
        return
    found = {each.title: each for each in sections()}
    if section not in found:
        raise ConfigError(f"no section '{section}'", remedy=f"name {either(section, tuple(found))}")
    if as_json:
        print_json(found[section])
        return
    if quiet:
        typer.echo("\n".join(row.key for row in found[section].fields))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("field", no_wrap=True, style="bold")
    table.add_column("meaning, default", overflow="fold")
    for row in found[section].fields:
        table.add_row(row.key, _meaning(row))
    console = Console()
    console.print(found[section].description, highlight=False)
    console.print(table)


def _meaning(row: FieldRow) -> Text:
    from rich.text import Text

    default = "required" if row.required else f"default {row.default}" if row.default else ""
    facts = f"see keeptune recipe {row.section}" if row.section else "; ".join(filter(None, (row.type, default)))
    return Text.assemble(row.description, ("\n" + facts, "dim"))
