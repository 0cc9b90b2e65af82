"""`keeptune report`: rebuild the page of a run from its records; no torch needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders (each holds a summary.json).")],
) -> None:
    """Rebuild report.html from the records of finished runs, and print their tables."""
    from keeptune.core.records import Summary, read_json
    from keeptune.report.console import print_summary
    from keeptune.report.html import write_report

    console = Console()
    for run in runs:
        summary = read_json(run / "summary.json", Summary)
        page = write_report(run)
        print_summary(summary, console)
        console.print(f"report: {page}")
