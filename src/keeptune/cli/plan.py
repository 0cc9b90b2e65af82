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
    """The layouts of every arm, what to take, what that is made of, and what all arms take together."""
    from keeptune.core.lines import print_line
    from keeptune.core.units import human_count

    def say(line: str, style: str = "") -> None:
        print_line(line, console, style)

    tokens = f"{human_count(record.tokens)} tokens in {record.steps} steps a training"
    say(f"{record.model} on {record.device}: {tokens}; {record.rates}")
    accounts: dict[str, list[Forecast]] = {}  # arms by what their memory is made of
    for arm, found in _by_arm(record).items():
        best = best_of(found)
        console.print()
        console.print(_table(found, best), highlight=False)
        if best is None:
            say(f"{arm}: nothing fits", "yellow")
            continue
        ranks = best.layout if best.ranks == 1 else f"{best.ranks} ranks, {best.layout}"
        say(f"{arm}, cheapest that fits: {ranks}; {_time([best])}")
        accounts.setdefault(account_line(best.memory), []).append(best)
    console.print()
    for account, arms in accounts.items():
        say(f"{', '.join(each.arm for each in arms)}: {account}", "dim")
    taken = [each for arms in accounts.values() for each in arms]
    if len(taken) > 1:
        say(f"all of these, one after another: {_time(taken)}")
    for note in record.notes:
        say(note, "yellow")


def _by_arm(record: ForecastRecord) -> dict[str, list[Forecast]]:
    """Everything that trains, with its layouts, in the order of the record."""
    found: dict[str, list[Forecast]] = {}
    for each in record.forecasts:
        found.setdefault(each.arm, []).append(each)
    return found


def _in_brief(record: ForecastRecord) -> Iterator[str]:
    """A line for every arm: what it takes at least."""
    from keeptune.core.units import human_bytes, human_seconds

    for arm, found in _by_arm(record).items():
        best = best_of(found)
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


def _time(taken: Sequence[Forecast]) -> str:
    from keeptune.core.units import human_seconds

    costs = [each.cost for each in taken if each.cost is not None]
    cost = f", costs {sum(costs):.2f}" if costs else ""
    return human_seconds(sum(each.seconds for each in taken)) + cost


def _table(found: Sequence[Forecast], best: Forecast | None) -> Table:
    """A row for every layout, the best one bold; columns that say nothing are left out."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from keeptune.core.units import human_bytes, human_seconds

    trainings = f"{found[0].trainings} training{'s' * (found[0].trainings != 1)}"
    table = Table(title=f"{found[0].arm}, {trainings}", title_justify="left", title_style="bold")
    table.box, table.show_edge, table.pad_edge, table.padding = SIMPLE_HEAD, False, False, (0, 1, 0, 0)
    cells = {
        "ranks": [str(each.ranks) for each in found] if any(each.ranks > 1 for each in found) else None,
        "layout": [each.layout for each in found],
        "memory a rank": [human_bytes(each.memory.total) + ("" if each.fits else ", too much") for each in found],
        "time": [human_seconds(each.seconds) for each in found],
        "network": [f"{each.network_share:.0%}" for each in found] if any(e.network_share for e in found) else None,
        "cost": [f"{each.cost:.2f}" for each in found if each.cost is not None] or None,
    }
    shown = {name: column for name, column in cells.items() if column is not None}
    for name in shown:
        table.add_column(name, justify="left" if name == "layout" else "right")
    for each, row in zip(found, zip(*shown.values(), strict=True), strict=True):
        table.add_row(*row, style="bold" if each is best else "")
    return table
