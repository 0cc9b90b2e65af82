"""`keeptune compare`: the verdict for a checkpoint that any tool trained, with an exit code for CI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keeptune.cli.options import AsJson, Overwrite, Quiet, Verbose, print_decision, progress_console

if TYPE_CHECKING:
    from rich.console import Console

    from keeptune.api.results import Result
    from keeptune.core.records import Summary

Margins = Annotated[
    list[str] | None,
    typer.Option(
        metavar="POINTS|SUITE=POINTS",
        help="Points that a task may lose, or one suite: --margin 2 --margin addition=3. Default: its own, or 5 %"
        " of what the base has above chance (1 to 3).",
    ),
]
Retained = Annotated[
    list[str] | None,
    typer.Option(
        help="What must not get worse: a data file, a text file, a task's YAML, builtin:name. May be repeated."
    ),
]


def compare(
    before: Annotated[str, typer.Argument(help="The base model; with --samples a log, or a folder of logs.")],
    after: Annotated[str, typer.Argument(help="The tuned model or its adapter; with --samples the logs of it.")],
    retain: Retained = None,
    target: Annotated[str | None, typer.Option(help="The task that was trained for: reported, not judged.")] = None,
    margin: Margins = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score at most so many test items of each task.")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Ask items in blocks, and of each task no more than settles its verdict.")
    ] = False,
    samples: Annotated[
        bool,
        typer.Option(help="Compare logs of lm-eval, Inspect or InvarLock; no model is loaded."),
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="With --samples: metric, or metric,filter; the first that a task has.")
    ] = None,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="Of both models.")] = "auto",
    cluster: Annotated[
        str | None, typer.Option(help="With --samples: the document field that names the source.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the verdicts as JUnit XML, a test case for a suite.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a table for a pull request's comment.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; default runs/compare, numbered where another comparison is there."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Did the tuned model lose anything? Exit code 0: every suite Retained, 10: one is Harmed, 11: undecided."""
    from keeptune.api import compare as api
    from keeptune.cli.command_line import command_line
    from keeptune.compare.gate import exit_code

    console = progress_console(quiet, as_json)
    common, margins = read_margins(margin or ())
    result = api.compare(
        before,
        after,
        retain,
        target=target,
        margin=common,
        margins=margins,
        limit=limit,
        fast=fast,
        samples=samples,
        metric=metric or (),
        precision=precision,
        cluster=cluster,
        out=out,
        overwrite=overwrite,
        console=console,
        command=command_line(),
    )
    _show(result, console)
    _write(result.summary, junit, markdown)
    print_decision(result.summary, result.folder, quiet, as_json)
    raise typer.Exit(exit_code(result.summary.arms[1].suites))


def _show(result: Result, console: Console) -> None:
    from keeptune.core.lines import print_lines
    from keeptune.recommend.next_steps import next_steps
    from keeptune.report.console import print_summary

    print_summary(result.summary, console)
    console.print(f"report: {result.folder / 'report.html'}", highlight=False)
    print_lines(next_steps(result.summary, result.folder), console)


def _write(summary: Summary, junit: Path | None, markdown: Path | None) -> None:
    """What other programs read, where a file is named for it."""
    from keeptune.core.files import write_whole
    from keeptune.report.gate import junit_xml, markdown_table

    if junit is not None:
        write_whole(junit, junit_xml(summary))
    if markdown is not None:
        write_whole(markdown, markdown_table(summary))


def read_margins(texts: Sequence[str]) -> tuple[float | None, dict[str, str]]:
    """['2', 'addition=3', 'prose=1%'] -> (2.0, {'addition': '3', 'prose': '1%'}).

    Raises:
        ConfigError: no number above 0 and below 100, or two for all suites.
    """
    from keeptune.core.errors import ConfigError
    from keeptune.evaluate.config import parse_margin

    common: float | None = None
    margins: dict[str, str] = {}
    for text in texts:
        suite, equals, value = text.rpartition("=")
        try:
            found = parse_margin(value)
        except ValueError as error:
            raise ConfigError(f"'{text}': {error}", where="--margin") from error
        if equals:
            margins[suite] = value
        elif common is not None or found.relative:
            raise ConfigError(
                f"'{text}'", where="--margin", remedy="give one number of points for all, or SUITE=POINTS"
            )
        else:
            common = 100 * found.value
    return common, margins
