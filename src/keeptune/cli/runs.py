"""`keeptune runs`: what is there, what one holds, two side by side, and what can go."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from keeptune.inspect.runs import RunRecord, TaskDifference

app = typer.Typer(help="List runs; show, compare and remove them.", invoke_without_command=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


@app.callback()
def list_command(
    context: typer.Context,
    below: Annotated[Path, typer.Option("--below", metavar="FOLDER", help="Where to look for runs.")] = Path("runs"),
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """List the runs below a folder: state, model, target, best arm, verdicts, age."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console

    from keeptune.inspect.runs import find_runs, run_record

    found = sorted(map(run_record, find_runs(below)), key=lambda record: record.age_seconds)
    if as_json:
        print_json(found)
        return
    if quiet:
        for record in found:
            typer.echo(record.folder)
        return
    if not found:
        typer.echo(f"no runs below {below}")
        return
    Console().print(_listed(found), highlight=False)


@app.command("show")
def show_command(run: Run, quiet: Quiet = False, verbose: Verbose = False, as_json: AsJson = False) -> None:
    """Print the verdict and the table of a run, what it was made by, and what can be done next."""
    from rich.console import Console

    from keeptune.core.lines import print_lines
    from keeptune.core.units import human_bytes
    from keeptune.inspect.runs import SUMMARY, run_record
    from keeptune.recommend.next_steps import next_steps
    from keeptune.report.console import print_summary

    record = run_record(run)
    if record.state != "finished" or not (run / SUMMARY).is_file():
        _show_other(record, as_json)
        return
    from keeptune.inspect.runs import finished_summary

    summary = finished_summary(run)
    if as_json:
        print_json(summary)
        return
    if quiet:
        typer.echo(summary.recommendation.headline)
        return
    console = Console()
    print_summary(summary, console)
    console.print()
    facts = {
        "model": summary.model,
        "target": summary.target,
        "made by": summary.manifest.command,
        "started": f"{summary.manifest.started} on {summary.manifest.device}, keeptune {summary.manifest.keeptune}",
        "folder": f"{run}, {human_bytes(record.size_bytes)}, written {age(record.age_seconds)} ago",
        "tuned": str(run / "tuned") if (run / "tuned").exists() else "",
        "report": str(run / "report.html") if (run / "report.html").is_file() else "",
    }
    print_lines((f"{name}: {text}" for name, text in facts.items() if text), console)
    print_lines(next_steps(summary, run), console)


@app.command("compare")
def compare_command(
    first: Run, second: Run, quiet: Quiet = False, verbose: Verbose = False, as_json: AsJson = False
) -> None:
    """Put the leading arms of two runs side by side: what was set otherwise, and every score both have, paired."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from keeptune.core.lines import print_lines
    from keeptune.inspect.runs import compare_runs

    found = compare_runs(first, second)
    if as_json:
        print_json(found)
        return
    if quiet:
        for task in found.tasks:
            typer.echo(f"{task.task}: {_compared(task)[-1]}")
        return
    console = Console()
    print_lines((f"{folder}: {arm}" for folder, arm in zip(found.folders, found.arms, strict=True)), console)
    print_lines((f"other {line}" for line in found.settings), console)
    if not found.tasks:
        console.print("no task was scored by both")
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, caption="test items; 95 % intervals, paired")
    for title in ("task", "items", "first", "second", "difference"):
        table.add_column(title, justify="left" if title == "task" else "right", overflow="fold")
    for task in found.tasks:
        table.add_row(*_compared(task))
    console.print(table, highlight=False)


@app.command("rm")
def remove_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Remove runs, their models and records included. Asks first; refuses what is no run, or is in use."""
    from keeptune.core.lock import locked
    from keeptune.core.units import human_bytes
    from keeptune.inspect.runs import run_record

    records = [run_record(run) for run in runs]  # all are runs, or none is removed
    removed = [record for record in records if yes or typer.confirm(f"remove {_described(record)}?", err=as_json)]
    with ExitStack() as held:
        for record in removed:  # all are free, or none is removed
            held.enter_context(locked(Path(record.folder), remedy="stop it, or wait until it has finished"))
        for record in removed:
            shutil.rmtree(record.folder)
            if not (quiet or as_json):
                typer.echo(f"removed {record.folder}, {human_bytes(record.size_bytes)}")
    if as_json:
        print_json(removed)


def age(seconds: float) -> str:
    """'3 min', '5 h', '12 d'."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def _described(record: RunRecord) -> str:
    from keeptune.core.units import human_bytes

    freed = human_bytes(record.size_bytes)
    return f"{record.folder} ({record.kind}, {record.state}, {freed}, {age(record.age_seconds)} old)"


def _show_other(record: RunRecord, as_json: bool) -> None:
    """A run without a summary to show."""
    if as_json:
        print_json(record)
        return
    typer.echo(f"{record.folder}: {record.kind}, {record.state}, {record.trainings} trainings done; {record.model}")
    if record.headline:
        typer.echo(record.headline)
    if record.state == "unfinished":
        typer.echo("next: run the same command again; what is finished is kept")


def _listed(found: Iterable[RunRecord]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from keeptune.report.console import STYLES
    from keeptune.report.formatting import metric_number

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold", ratio=3)
    table.add_column("best", overflow="fold", ratio=3)
    table.add_column("verdicts", overflow="fold", ratio=2)
    table.add_column("age", justify="right", no_wrap=True)
    for one in found:
        model = Path(one.model)
        name = "/".join(("\u2026", *model.parts[-2:])) if model.is_absolute() else one.model
        about = " \u00b7 ".join(filter(None, (one.target, name)))
        state = one.state if one.state != "unfinished" else f"unfinished, {one.trainings} trainings done"
        score = f"\n{metric_number(one.score.mean, one.score.metric)} {one.score.metric}" if one.score else ""
        told = [Text(f"{n} {word}", style=STYLES[word]) for word, n in one.verdicts.items()]
        table.add_row(
            Text(one.folder, style="bold") + Text(f"\n{about}", style="dim"),
            Text((one.best or "") + score) if one.best else Text(f"{one.kind}, {state}", style="dim"),
            Text("\n").join(told),
            age(one.age_seconds),
        )
    return table


def _compared(task: TaskDifference) -> tuple[str, ...]:
    from keeptune.report.formatting import change_with_interval, metric_number

    unit = "bits_per_byte" if task.change is None and not 0 <= max(task.before, task.after) <= 1 else ""
    change = change_with_interval(task.change, task.interval) if task.change is not None else "\u2014"
    return task.task, f"{task.n:,}", metric_number(task.before, unit), metric_number(task.after, unit), change
