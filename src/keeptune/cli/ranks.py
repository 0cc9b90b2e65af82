"""Commands that several processes run together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from keeptune.core.errors import KeeptuneError
from keeptune.launch.torchrun import joined, launched, start
from keeptune.launch.world import World

Processes = Annotated[
    int, typer.Option("--nproc", min=1, help="Processes on this machine that train together: one for each GPU.")
]


@contextmanager
def main_process(processes: int, on: str | None = None, folder: Path = Path()) -> Iterator[World]:
    """Within, the process that runs a study, in its world. Others never come here: they start it, or follow it.

    Args:
        processes: of the world.
        on: the cluster whose workers they are (see `RayCluster`); by default they are on this machine.
        folder: that all of them have to see.

    Raises:
        Exit: another process's work is done.
    """
    if processes > 1 and not launched():
        raise typer.Exit(_start_on(on, processes, folder) if on else start(processes, sys.argv[1:]))
    with joined() as world:
        if world.is_main:
            yield world
            return
        from keeptune.study.schedule.together import follow

        follow(world)
    raise typer.Exit


def _start_on(on: str, processes: int, folder: Path) -> int:
    """Run this command in so many workers of a cluster, which are one world; its exit code."""
    from keeptune.launch.ray import RayCluster
    from keeptune.study.schedule.cluster import check_nodes

    with RayCluster(on, show=True) as cluster:
        check_nodes(cluster, folder)
        command = partial(_as_rank, Path.cwd(), sys.argv[1:])
        return cluster.together(command, processes, folder.absolute() / "tmp")


def _as_rank(place: Path, arguments: list[str]) -> int:
    """This command in a worker of the cluster, which is a process of the world; its exit code."""
    from keeptune.cli.main import app

    os.chdir(place)
    sys.argv = ["keeptune", *arguments]
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except KeeptuneError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
