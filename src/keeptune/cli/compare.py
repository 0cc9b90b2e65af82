"""`keeptune compare`: the verdict for a checkpoint that any tool trained, with an exit code for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def compare(
    before: Annotated[str, typer.Argument(help="The base model; with --samples a sample log, or a folder of logs.")],
    after: Annotated[str, typer.Argument(help="The tuned model or its adapter; with --samples the logs of it.")],
    retain: Annotated[
        list[str] | None,
        typer.Option(
            help="What must not get worse: a data file, a text file, a task's YAML, builtin:name. May be repeated."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The task that was trained for: reported, not judged.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Points that a task may lose. Default: its own, or 5 % of what the base has above chance (1 to 3)."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score at most so many test items of each task.")] = None,
    samples: Annotated[bool, typer.Option(help="Compare two sets of lm-eval sample logs; no model is loaded.")] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="With --samples: metric, or metric,filter; the first that a task has.")
    ] = None,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="Of both models.")] = "auto",
    cluster: Annotated[
        str | None, typer.Option(help="With --samples: the document field that names the source.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/compare, numbered where another comparison is there."),
    ] = None,
) -> None:
    """Did the tuned model lose anything? Exit code 0: every suite Retained, 10: one is Harmed, 11: undecided."""
    from rich.console import Console

    from keeptune.api import compare as api
    from keeptune.cli.command_line import command_line
    from keeptune.compare.gate import exit_code
    from keeptune.report.console import print_summary

    result = api.compare(
        before,
        after,
        retain,
        target=target,
        margin=margin,
        limit=limit,
        samples=samples,
        metric=metric or (),
        precision=precision,
        cluster=cluster,
        out=out,
        command=command_line(),
    )
    console = Console()
    print_summary(result.summary, console)
    console.print(f"report: {result.folder / 'report.html'}", highlight=False)
    raise typer.Exit(exit_code(result.verdicts["after"]))
