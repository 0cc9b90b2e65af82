"""Lines that say how far things are: whole in 80 columns, nested, in colours or without, and in notebooks."""

from __future__ import annotations

import io
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from keeptune.core.lines import print_line
from keeptune.tracking.bars import Bars

NOTE = "loss 0.477, validation 0.453 (best), 683 tokens/s"


def terminal(width: int = 80, **settings: Any) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, **settings)


def shown(bars: Bars, width: int = 80) -> list[str]:
    page = Console(file=io.StringIO(), width=width, color_system=None)
    page.print(bars.get_renderable())
    return [line.rstrip() for line in page.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["lora", "full-lr0.001-seed0", "lora+replay:5%+kl:0.5-lr0.0003-seed0", "a" * 90])
@pytest.mark.parametrize("width", [80, 120, 40])
def test_nothing_is_cut_however_long_the_name(name: str, width: int) -> None:
    bars = Bars(terminal(width))
    bars.add_task(name, total=120, completed=60, note=NOTE)
    lines = shown(bars, width)
    assert all(len(line) <= width for line in lines)
    joined = "".join(lines).replace(" ", "")
    for part in (name, "60/120", *NOTE.split(", ")):
        assert part.replace(" ", "") in joined
    assert "…" not in joined


def test_a_wide_terminal_has_one_line_and_a_narrow_one_the_note_below() -> None:
    bars = Bars(terminal(120))
    bars.add_task("full-lr0.001-seed0", total=120, completed=60, note=NOTE)
    (line,) = shown(bars, 120)
    assert line.startswith("full-lr0.001-seed0 ━") and NOTE in line
    narrow = Bars(terminal())
    narrow.add_task("full-lr0.001-seed0", total=120, completed=60, note=NOTE)
    first, second = shown(narrow)
    assert first.startswith("full-lr0.001-seed0 ━") and first.endswith("60/120")
    assert second == f"  {NOTE}"


def test_what_is_left_is_said_by_the_task_or_by_who_knows_better() -> None:
    bars = Bars(terminal())
    bars.add_task("study", total=8, completed=3, note="1 of 2 trainings, 2 of 6 tests", left=lambda: 95.4)
    bars.add_task("base", total=8, note="", left=lambda: None)
    first, second = shown(bars)
    assert first.endswith("1 of 2 trainings, 2 of 6 tests · 1 min 35 s left") and "3/8" not in first
    assert "left" not in second


def test_bars_inside_others_stand_below_them_and_all_are_gone_in_the_end() -> None:
    console = terminal(color_system=None)
    with Bars(console) as outer:
        outer.add_task("outer", total=2)
        with Bars(console) as inner:
            inner.add_task("inner", total=2)
            inner.refresh()
            console.print("a line above")
        outer.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.index("a line above") > 0
    at_once = text[: text.index("a line above")]
    assert at_once.index("outer") < at_once.index("inner")
    assert console._live_stack == []


def test_a_file_gets_nothing() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    with Bars(console) as bars:
        bars.add_task("encoding", total=3)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_without_colours_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Bars(console) as bars:
        bars.add_task("encoding", total=3, completed=1)
        bars.refresh()
        print_line("warning: careful", console, "yellow")
    codes = [part.partition("m")[0] for part in console.file.getvalue().split("\x1b[")[1:]]  # type: ignore[attr-defined]
    colours = [c for c in codes if any(n.isdigit() and (30 <= int(n) <= 49 or int(n) >= 90) for n in c.split(";"))]
    assert not colours and "warning: careful" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a notebook shows: a list of the states of every output."""
    outputs: list[list[str]] = []

    def display(block: Any, display_id: bool = False) -> Any:
        states: list[str] = []
        if display_id:  # what the console prints has none
            states.append(block.html)
            outputs.append(states)
        return SimpleNamespace(update=lambda later: states.append(later.html))

    module = ModuleType("IPython.display")
    module.display, module.HTML = display, lambda text: SimpleNamespace(html=text)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return outputs


def test_a_notebook_has_one_output_that_is_written_over_and_empty_in_the_end(notebook: list[list[str]]) -> None:
    console = Console(force_jupyter=True, width=80)
    with Bars(console) as outer:
        outer.add_task("study", total=2, note="")
        outer.refresh()
        with Bars(console) as inner:
            inner.add_task("lora", total=10, completed=4, note="loss 1.5")
            inner.refresh()
    (states,) = notebook
    assert any("study" in state and "4/10" in state and "loss 1.5" in state for state in states)
    assert "study" not in states[-1] and "lora" not in states[-1]


def test_lines_are_wrapped_at_words_where_somebody_looks_and_whole_elsewhere() -> None:
    line = "warning: orders: 198 of 250 test answers were cut at 16 tokens and scored as they are [x] (more: 32)"
    watched, piped = terminal(80, color_system=None), Console(file=io.StringIO(), width=80)
    print_line(line, watched, "yellow")
    print_line(line, piped)
    first, second = watched.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(len(first), len(second)) <= 80 and f"{first.rstrip()} {second}" == line
    assert piped.file.getvalue() == f"{line}\n"  # type: ignore[attr-defined]
