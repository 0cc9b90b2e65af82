"""What a study says while it runs, and what its report has to say beside the scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from keeptune.core.lines import print_line
from keeptune.models.progress import Progress as Update
from keeptune.tracking.bars import Bars


class Messages:
    """Lines on a console; all of them are kept, so that a worker can hand them to the process that reports."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def say(self, line: str) -> None:
        """One line of progress."""
        self.lines.append(line)
        print_line(line, self.console, "dim")

    def warn(self, line: str) -> None:
        """What the report has to say beside the scores; each line once."""
        if line not in self.warnings:
            self.warnings.append(line)
            print_line(f"warning: {line}", self.console, "yellow")

    @contextmanager
    def progress(self, title: str) -> Iterator[Update]:
        """Within, a bar that is moved by calls with (items done, items in all)."""
        with progress(self.console, title) as update:
            yield update


@contextmanager
def progress(console: Console, title: str) -> Iterator[Update]:
    """A bar for scoring and encoding; nothing where the console is a file."""
    with Bars(console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
