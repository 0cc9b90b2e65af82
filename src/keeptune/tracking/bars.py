"""Lines at the end of the output that say how far things are, in terminals and in notebooks; gone in the end.

A file, a pipe and a CI log get none. Bars that are shown inside others stand below them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from keeptune.core.units import human_seconds

WIDEST, NARROWEST = 24, 8  # characters of a bar; where fewer are left there is none
BLOCK = '<pre style="line-height:normal;white-space:pre-wrap">{code}</pre>'


class Bars(Progress):
    """A line for each thing that is at work: description, bar, steps done, time left, and a note.

    A note that does not fit has a line of its own; nothing is cut. Of a task's fields "note" is text, and "left" says
    how many seconds are left where the task's own pace does not (it may say None).
    """

    def __init__(self, console: Console) -> None:
        seen = console.is_terminal or console.is_jupyter
        super().__init__(console=console, transient=True, disable=not seen, refresh_per_second=4)
        if console.is_jupyter:
            self.live = _NotebookLive(console=console, get_renderable=self.get_renderable, transient=True)

    @override
    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines, as wide as the console."""
        for task in self.tasks:
            yield from _lines(task, self.console.width)


def _lines(task: Task, width: int) -> Iterable[RenderableType]:
    counted = task.total is not None and "left" not in task.fields
    count = f"{task.completed:.0f}/{task.total:.0f}" if counted else ""
    note, time = task.fields.get("note", ""), _time(task)
    least = NARROWEST + 1 if task.total is not None else 0
    whole = _joined(count, note, time)
    fits = cell_len(task.description) + 1 + cell_len(whole) + least <= width
    words = whole if fits else _joined(count, time)
    room = width - cell_len(task.description) - cell_len(words) - 2
    if task.total is None or room < NARROWEST:
        yield Text(_joined(task.description, words))
    else:
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=task.total, completed=task.completed, width=min(WIDEST, room))
        line.add_row(Text(task.description), bar, Text(words))
        yield line
    if note and not fits:
        yield Text(f"  {note}")


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _time(task: Task) -> str:
    """What is left; of what has no end, how long it has taken."""
    if task.total is None:
        return _seconds(task.elapsed) if task.elapsed else ""
    left = task.fields["left"]() if "left" in task.fields else task.time_remaining
    return "" if left is None else f"{_seconds(max(0, left))} left"


def _seconds(seconds: float) -> str:
    """Without fractions: they would flicker."""
    return human_seconds(seconds) if seconds >= 10 else f"{seconds:.0f} s"


class _NotebookLive(Live):
    """One output of a notebook's cell, written over and over. IPython is enough: rich itself asks for widgets."""

    _output: Any = None

    @override
    def refresh(self) -> None:
        with self._lock:
            if not self._nested:
                self._show(self.renderable)
            elif self.console._live_stack:
                self.console._live_stack[0].refresh()

    @override
    def stop(self) -> None:
        with self._lock:
            if self._started and not self._nested:
                self._show("")
            super().stop()

    def _show(self, renderable: RenderableType) -> None:
        from IPython.display import HTML, display

        block = HTML(_html(renderable, self.console.width))
        if self._output is None:
            self._output = display(block, display_id=True)
        else:
            self._output.update(block)


def _html(renderable: RenderableType, width: int) -> str:
    page = Console(file=io.StringIO(), record=True, width=width, force_jupyter=False, force_terminal=True)
    page.print(renderable)
    return page.export_html(code_format=BLOCK, inline_styles=True)
