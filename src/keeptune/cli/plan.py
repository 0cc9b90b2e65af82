"""`keeptune plan`: what a recipe needs before it is run, and before there is a device to run it on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json, progress_console
from keeptune.cli.study import Overrides

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from keeptune.core.records import Forecast, ForecastRecord, MemoryAccount


def plan(
    recipe: Annotated[Path, typer.Argument(help="A YAML recipe.")],
    devices: Annotated[
        str | None, typer.Option(help="GPUs to plan for, such as 8xH100-80GB. Default: this machine.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of one device for an hour, in any currency.")] = None,
    data: Annotated[Path, typer.Option(help="Relative data paths of the recipe are below this folder.")] = Path(),
    assume: Annotated[
        str | None, typer.Option(help="Rows x tokens, such as 10000x512, where the data is not at hand.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write everything to this JSON file, too.")] = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Predict memory and time of every arm from the model's configuration alone: what fits, and what it costs.

    No weights are read. Times on this machine are measured by a probe; those of other devices are their makers' peak
    rates times a share.
    """
    from keeptune.core.config import read_recipe
    from keeptune.core.records import write_json
    from keeptune.recipe.named import check_named

    check_named(recipe, overrides or (), None if assume else data)

    from keeptune.recipe.config import StudyConfig  # imports torch, through the methods

    config = read_recipe(StudyConfig, recipe, overrides or ())
    console = progress_console(quiet, as_json)

    from keeptune.planning.predict import forecast  # imports torch: what is wrong with the command is said before

    record = forecast(config, data, devices, price, assume, console)
    print_forecast(record, console)
    if out is not None:
        write_json(out, record)
    if as_json:
        print_json(record)
    elif quiet:
        typer.echo("\n".join(_in_brief(record)))


def print_forecast(record: ForecastRecord, console: Console) -> None:
    """The layouts of every arm, the account of the best one, and what to take."""
    from keeptune.core.lines import print_line
    from keeptune.core.units import human_count, human_seconds

    tokens = f"{human_count(record.tokens)} tokens in {record.steps} steps a training"
    print_line(f"{record.model} on {record.device}: {tokens}; {record.rates}", console)
    for arm in dict.fromkeys(each.arm for each in record.forecasts):
        found = [each for each in record.forecasts if each.arm == arm]
        console.print(_table(arm, found))
        best = best_of(found)
        if best is None:
            print_line(f"{arm}: nothing fits", console, "yellow")
            continue
        cost = "" if best.cost is None else f", costs {best.cost:.2f}"
        ranks = "one process" if best.ranks == 1 else f"{best.ranks} ranks, {best.layout}"
        time = human_seconds(best.seconds)
        print_line(f"{arm}, cheapest that fits: {ranks}; {time}{cost}", console)
        print_line(f"  {account_line(best.memory)}", console, "dim")
    for note in record.notes:
        print_line(note, console, "yellow")


def _in_brief(record: ForecastRecord) -> Iterator[str]:
    """A line for every arm: what it takes at least."""
    from keeptune.core.units import human_bytes, human_seconds

    for arm in dict.fromkeys(each.arm for each in record.forecasts):
        best = best_of([each for each in record.forecasts if each.arm == arm])
        needs = "nothing fits" if best is None else f"{human_bytes(best.memory.total)}, {human_seconds(best.seconds)}"
        yield f"{arm}: {needs}"


def best_of(found: Sequence[Forecast]) -> Forecast | None:
    """The one that fits at the least time of devices, the fastest of equals; None where none fits."""
    fitting = [each for each in found if each.fits]
    return min(fitting, key=lambda each: (round(each.ranks * each.seconds, 3), each.seconds), default=None)


def account_line(memory: MemoryAccount) -> str:
    """'weights 9.3 MB + masters 18.6 MB + … = 0.7 GB a process', without lines of nothing."""
    from keeptune.core.units import human_bytes

    lines = [(name, value) for name, value in memory if value and name != "host"]
    parts = " + ".join(f"{name.replace('_', ' ')} {human_bytes(value)}" for name, value in lines)
    host = f", and {human_bytes(memory.host)} of the host's memory" if memory.host else ""
    return f"{parts} = {human_bytes(memory.total)} a process{host}"


def _table(arm: str, found: Sequence[Forecast]) -> Table:
    from rich.table import Table

    from keeptune.core.units import human_bytes, human_seconds

    table = Table(title=f"{arm}, {found[0].trainings} trainings")
    for name in ("ranks", "layout", "memory a rank", "time", "network", "cost"):
        table.add_column(name, justify="left" if name == "layout" else "right")
    for each in found:
        memory = human_bytes(each.memory.total)
        table.add_row(
            str(each.ranks),
            each.layout,
            memory if each.fits else f"{memory}, does not fit",
            human_seconds(each.seconds),
            f"{each.network_share:.0%}",
            "" if each.cost is None else f"{each.cost:.2f}",
        )
    return table
