"""What the tables of docs/performance.md have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.measured import is_current

Report = dict[str, Any]


def table(head: str, rows: Iterator[list[str]]) -> str:
    """A Markdown table; ``head`` has its columns between bars."""
    return "\n".join([f"| {head} |", "|---" * (head.count("|") + 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def caption(report: Report) -> str:
    """Where a report comes from."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    amx = {True: ", AMX", False: ", no AMX", None: ""}[report["amx"]]
    threads = f"{report['threads']} thread{'s' if report['threads'] != 1 else ''}"
    where = ", ".join(filter(None, (report.get("model"), report["hardware"], threads)))
    return f"**{where}{amx}**, {report['date']}{since(report)} (Python {report['python']}, {versions})"


def since(report: Report) -> str:
    """What has to be said of a report that is older than the code it measures."""
    return "" if is_current(report) else ", of code that has changed since"


def times(figure: Report) -> str:
    """A ratio with its range."""
    if figure["n"] == 1:
        return f"{figure['median']:.2f} (one window)"
    return f"{figure['median']:.2f} ({figure['low']:.2f} to {figure['high']:.2f})"


def pair(ours: str, theirs: str) -> str:
    """Both sides in one cell."""
    return f"{ours} / {theirs}"


def filled(path: Path, parts: dict[str, str], writer: str = "write_page") -> str:
    """The text of a page with fresh parts between the markers of the script that writes them."""
    page = path.read_text(encoding="utf-8")
    for what, text in parts.items():
        begin, end = f"<!-- {what}: written by benchmarks/{writer}.py -->", f"<!-- end of {what} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise SystemExit(f"{path.name} should have both markers of '{what}' once")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"
    return page
