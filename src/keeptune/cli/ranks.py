"""Commands that several processes run together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from keeptune.core.errors import KeeptuneError
from keeptune.launch.torchrun import joined, launched, start
from keeptune.launch.world import ALONE, World

if TYPE_CHECKING:
    from keeptune.recipe.config import StudyConfig

OVERWRITE = "--overwrite"  # see `options.Overwrite`
Processes = Annotated[
    int, typer.Option("--nproc", min=1, help="Processes that train together, on this machine or --on a cluster.")
]


@contextmanager
def main_process(
    processes: int, config: StudyConfig, on: str | None = None, folder: Path = Path()
) -> Iterator[tuple[World, StudyConfig]]:
    """Within, the process that runs a study: its world, and the recipe for it.

    Others never come here: they start it, or follow it. Where every process trains arms of its own, they are workers.

    Args:
        processes: of the world.
        config: the recipe.
        on: the cluster whose workers they are (see `RayCluster`); by default they are on this machine.
        folder: that all of them have to see.

    Raises:
        Exit: another process's work is done.
    """
    if processes > 1 and not launched():
        from keeptune.study.schedule.layout import layout_of

        if layout_of(config, processes) == "arms":
            yield ALONE, config.model_copy(update={"workers": processes})
            return
        raise typer.Exit(_start_on(on, processes, folder) if on else start(processes, sys.argv[1:]))
    with joined() as world:
        if world.is_main:
            yield world, config
            return
        from keeptune.study.schedule.together import follow

        follow(world)
    raise typer.Exit


def _start_on(on: str, processes: int, folder: Path) -> int:
    """Run this command in so many workers of a cluster, which are one world; its exit code.

    A run is written over once, here: workers that begin again go on with what those before them left.
    """
    from keeptune.launch.ray import RayCluster
    from keeptune.recipe.run_folder import remove_run
    from keeptune.study.schedule.cluster import check_nodes

    with RayCluster(on, show=True) as cluster:
        if OVERWRITE in sys.argv:
            remove_run(folder, Console(stderr=True))
        check_nodes(cluster, folder)
        command = partial(_as_rank, Path.cwd(), [each for each in sys.argv[1:] if each != OVERWRITE])
        return cluster.together(command, processes, folder.absolute() / "tmp")


def _as_rank(place: Path, arguments: list[str]) -> int:
    """This command in a worker of the cluster, which is a process of the world; its exit code."""
    from keeptune.cli.main import app

    os.chdir(place)
    sys.argv = ["keeptune", *arguments]
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except SystemExit as end:
        return int(end.code or 0)
    except KeeptuneError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
