"""`keeptune train`: one method on your data, no configuration needed. A study with one arm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from keeptune.cli.data import FieldMap, field_map
from keeptune.cli.options import AsJson, Overwrite, Quiet, print_decision, progress_console


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
    rate: Annotated[
        list[float] | None,
        typer.Option("--rate", "--lr", help="Peak learning rate; several are tried. Default: a grid of four."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many rates of the grid are tried, those in its middle.")
    ] = None,
    on_leak: Annotated[
        str, typer.Option(help="error, or drop: rows that leak across the parts leave training.")
    ] = "error",
    fields: FieldMap = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/train, numbered where another run is there.")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.field=value, as in a recipe.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Split, train, and print base against tuned on the held-out rows, with an interval."""
    import yaml

    from keeptune.recipe.files import named_entries

    columns = field_map(fields)
    named_entries(data, on_leak, fields=columns)
    named_entries(retain or (), margin=margin)

    from keeptune.cli.run_folder import run_folder  # methods, which recipes name, import torch
    from keeptune.core.config import parse_recipe
    from keeptune.recipe.begun import begun_study
    from keeptune.recipe.config import StudyConfig
    from keeptune.recipe.entries import entries_of

    recipe: dict[str, Any] = {
        "model": model,
        "target": [{"data": source, "fields": columns, "split": {"on_leak": on_leak}} for source in data],
        "retain": [entry for spec in retain or () for entry in entries_of(spec, margin)],
        "arms": ["prompt", method],
        "prompt": {"shots": [0]},
        "seeds": [0],
        "title": " + ".join(Path(source).stem for source in data),
        **({method: {"learning_rates": rate}} if rate else {}),
    }
    config = parse_recipe(StudyConfig, yaml.safe_dump(recipe), source="keeptune train", overrides=overrides or ())
    console = progress_console(quiet, as_json)
    config = config.with_learning_rates({method: middle(config.method(method).learning_rates, trials)})
    folder = run_folder(begun_study(config), Path("runs/train"), out, overwrite=overwrite, console=console)
    tried = config.method(method).learning_rates
    if len(tried) > 1:
        console.print(
            f"{len(tried)} learning rates are tried ({', '.join(f'{one:g}' for one in tried)}) and the best on"
            " validation is kept; the plan says how long that takes; --trials 1 or --lr RATE is faster",
            highlight=False,
            soft_wrap=True,
        )

    from keeptune.study.run import run_study  # imports torch: what is wrong with the command is said before

    print_decision(run_study(config, folder, console=console), folder, quiet, as_json)


def middle(rates: Sequence[float], count: int | None) -> tuple[float, ...]:
    """The ``count`` rates in the middle of an ascending grid; of two middles the lower one."""
    spare = len(rates) - min(count or len(rates), len(rates))
    return tuple(rates[spare // 2 : len(rates) - (spare - spare // 2)])
