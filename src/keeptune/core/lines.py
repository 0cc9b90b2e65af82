"""Lines on a console, as people read them and as they copy them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text


def print_line(line: str, console: Console, style: str = "") -> None:
    """Print a line: wrapped at words where somebody looks at it, whole in files and pipes."""
    watched = console.is_terminal or console.is_jupyter
    console.print(Text(line, style=style), highlight=False, soft_wrap=not watched)


def print_lines(lines: Iterable[object], console: Console) -> None:
    """Print each as it is, on a line that only the terminal breaks: it may hold commands that somebody copies."""
    for line in lines:
        console.print(str(line), highlight=False, markup=False, soft_wrap=True)
