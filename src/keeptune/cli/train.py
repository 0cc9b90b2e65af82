"""`keeptune train`: one method on your data, no configuration needed. A study with one arm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keeptune.cli.data import FieldMap, field_map


def train(
    model: Annotated[str, typer.Option(help="Hub name, local folder, or 'builtin'.")],
    data: Annotated[
        list[str], typer.Option(help="A file, a folder of split files, or hf:owner/name. May be repeated.")
    ],
    method: Annotated[Literal["lora", "full"], typer.Option(help="What is trained.")] = "lora",
    retain: Annotated[
        list[str] | None,
        typer.Option(help="What must not get worse: a data file, a text file, a task's YAML file. May be repeated."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Points that a retained task may lose.")] = None,
    search: Annotated[
        bool | None,
        typer.Option(
            "--search/--no-search", help="Search for an arm that keeps what is retained; default: where something is."
        ),
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(help="Peak rate; several are tried. Default: a grid of four.")
    ] = None,
    on_leak: Annotated[
        str, typer.Option(help="error, or drop: rows that leak across the parts leave training.")
    ] = "error",
    fields: FieldMap = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/train, numbered where another run is there.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.field=value, as in a recipe.")] = None,
) -> None:
    """Split, train, and print base against tuned on the held-out rows, with an interval."""
    import yaml

    from keeptune.cli.run_folder import run_folder
    from keeptune.core.config import parse_recipe
    from keeptune.recipe.begun import begun_study
    from keeptune.recipe.config import StudyConfig
    from keeptune.recipe.entries import entries_of
    from keeptune.recipe.search import SEARCH

    columns = field_map(fields)
    recipe: dict[str, Any] = {
        "model": model,
        "target": [{"data": source, "fields": columns, "split": {"on_leak": on_leak}} for source in data],
        "retain": [entry for spec in retain or () for entry in entries_of(spec, margin)],
        "arms": ["prompt", method, *([SEARCH] if (bool(retain) if search is None else search) else [])],
        "prompt": {"shots": [0]},
        "seeds": [0],
        "title": " + ".join(Path(source).stem for source in data),
        **({method: {"learning_rates": rate}} if rate else {}),
    }
    config = parse_recipe(StudyConfig, yaml.safe_dump(recipe), source="keeptune train", overrides=overrides or ())
    folder = run_folder(begun_study(config), Path("runs/train"), out)

    from keeptune.study.run import run_study  # imports torch: what is wrong with the command is said before

    run_study(config, folder)
