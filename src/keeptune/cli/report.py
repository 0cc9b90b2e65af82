"""`keeptune report`: rebuild the page of a run from its records; no torch needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keeptune.cli.options import AsJson, Quiet, Verbose, print_json, progress_console


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders (each holds a summary.json).")],
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild report.html from the records of finished runs, and print their tables."""
    from keeptune.core.records import Summary, read_json
    from keeptune.report.console import print_summary
    from keeptune.report.html import write_report

    console = progress_console(quiet, as_json)
    summaries = []
    for run in runs:
        summary = read_json(run / "summary.json", Summary)
        page = write_report(run)
        print_summary(summary, console)
        if not as_json:
            typer.echo(f"report: {page}")
        summaries.append(summary)
    if as_json:
        print_json(summaries)
