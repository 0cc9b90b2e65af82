"""Commands that several processes run together."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from keeptune.launch.torchrun import joined, launched, start
from keeptune.launch.world import ALONE, World

if TYPE_CHECKING:
    from keeptune.recipe.config import StudyConfig

Processes = Annotated[
    int, typer.Option("--nproc", min=1, help="Processes on this machine that train together: one for each GPU.")
]


@contextmanager
def main_process(processes: int, config: StudyConfig) -> Iterator[tuple[World, StudyConfig]]:
    """Within, the process that runs a study: its world, and the recipe for it.

    Others never come here: they start it, or follow it. Where every process trains arms of its own, they are workers.

    Raises:
        Exit: another process's work is done.
    """
    if processes > 1 and not launched():
        from keeptune.study.schedule.layout import layout_of

        if layout_of(config, processes) == "arms":
            yield ALONE, config.model_copy(update={"workers": processes})
            return
        raise typer.Exit(start(processes, sys.argv[1:]))
    with joined() as world:
        if world.is_main:
            yield world, config
            return
        from keeptune.study.schedule.together import follow

        follow(world)
    raise typer.Exit
