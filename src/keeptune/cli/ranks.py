"""Commands that several processes run together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from keeptune.launch.torchrun import joined, launched, start
from keeptune.launch.world import World

Processes = Annotated[
    int, typer.Option("--nproc", min=1, help="Processes on this machine that train together: one for each GPU.")
]


@contextmanager
def main_process(processes: int) -> Iterator[World]:
    """Within, the process that runs a study, in its world. Others never come here: they start it, or follow it.

    Raises:
        Exit: another process's work is done.
    """
    if processes > 1 and not launched():
        raise typer.Exit(start(processes, sys.argv[1:]))
    with joined() as world:
        if world.is_main:
            yield world
            return
        from keeptune.study.schedule.together import follow

        follow(world)
    raise typer.Exit
