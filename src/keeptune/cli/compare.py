"""`keeptune compare`: the verdict for a checkpoint that any tool trained, with an exit code for CI."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

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
    precision: Annotated[str, typer.Option(help="Of both models: auto, bf16 or fp32.")] = "auto",
    cluster: Annotated[
        str | None, typer.Option(help="With --samples: the document field that names the source.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder for records and report.")] = Path("runs/compare"),
) -> None:
    """Did the tuned model lose anything? Exit code 0: every suite Retained, 10: one is Harmed, 11: undecided."""
    from rich.console import Console

    from keeptune.core.errors import ConfigError
    from keeptune.report.console import print_summary
    from keeptune.report.html import write_report
    from keeptune.study.gate import exit_code

    console = Console()
    command = shlex.join(["keeptune", *sys.argv[1:]])
    if samples:
        if retain or limit:
            raise ConfigError("--retain and --limit do not go with --samples", remedy="the logs say what was asked")
        from keeptune.study.samples import compare_samples

        comparison = compare_samples(
            before,
            after,
            metrics=metric or (),
            margin=None if margin is None else margin / 100,
            cluster=cluster,
            target=target,
            command=command,
        )
    else:
        if metric or cluster:
            raise ConfigError("--metric and --cluster need --samples", remedy="a task's YAML file names both")
        from keeptune.study.compare import compare_models

        comparison = compare_models(
            before,
            after,
            retain or (),
            target=target,
            margin=margin,
            limit=limit,
            precision=precision,
            console=console,
            command=command,
        )
    comparison.save(out)
    page = write_report(out)
    print_summary(comparison.summary, console)
    console.print(f"report: {page}", highlight=False)
    raise typer.Exit(exit_code(comparison.verdicts))
