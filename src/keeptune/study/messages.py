"""What a study says while it runs, and what its report has to say beside the scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from keeptune.models.progress import Progress as Update


class Messages:
    """Lines on a console; all of them are kept, so that a worker can hand them to the process that reports."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def say(self, line: str) -> None:
        """One line of progress."""
        self.lines.append(line)
        self.console.print(line, style="dim", highlight=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """What the report has to say beside the scores; each line once."""
        if line not in self.warnings:
            self.warnings.append(line)
            self.console.print(f"warning: {line}", style="yellow", highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, title: str) -> Iterator[Update]:
        """Within, a bar that is moved by calls with (items done, items in all)."""
        with progress(self.console, title) as update:
            yield update


@contextmanager
def progress(console: Console, title: str) -> Iterator[Update]:
    """A bar for scoring and encoding; nothing where the console is a file."""
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TextColumn("left"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
