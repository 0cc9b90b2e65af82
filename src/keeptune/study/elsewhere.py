"""What a study uses beside this process: others that share its jobs, nodes that do them, a copy of its folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from keeptune.core.errors import RunFolderError
from keeptune.launch.ray import RayCluster
from keeptune.launch.world import ALONE, World
from keeptune.recipe.begun import Begun, another
from keeptune.study.messages import Messages
from keeptune.study.mirror import Mirror
from keeptune.study.schedule.cluster import check_nodes


@dataclass(frozen=True)
class Elsewhere:
    """Nothing, unless it was asked for."""

    cluster: RayCluster | None = None
    mirror: Mirror | None = None
    world: World = ALONE  # processes that do every job together
    cache: Path | None = None  # of base scores and encoded rows, where it has to be another one than the user's


NOTHING = Elsewhere()


@contextmanager
def reaching(on: str | None, mirror: str | None, folder: Path, begun: Begun, messages: Messages) -> Iterator[Elsewhere]:
    """Within, the cluster is connected and checked, and the mirror is kept up to date.

    Args:
        on: the cluster (see `RayCluster`); None: this machine.
        mirror: URL of the copy (see `Mirror`); None: there is none.
        folder: of the run.
        begun: what is to be run there.
        messages: told what was found.

    Raises:
        ConfigError: cluster, nodes or storage cannot be used.
        ResourceError: the storage cannot be reached.
        RunFolderError: the mirror holds another run.
    """
    with ExitStack() as stack:
        copy = None
        if mirror is not None:
            copy = Mirror(folder, mirror, messages.warn)
            if fetched := copy.fetch():
                messages.say(f"{fetched} files of this run came from {mirror}")
            if (reason := another(folder, begun)) is not None:
                raise RunFolderError(f"holds {reason}", where=mirror, remedy="name another --mirror and another --out")
            stack.enter_context(copy)
        if on is None:
            yield Elsewhere(mirror=copy)
            return
        cluster = stack.enter_context(RayCluster(on))
        check_nodes(cluster, folder)
        stack.enter_context(_temporary_files(folder / "tmp"))
        cache = None if os.environ.get("KEEPTUNE_CACHE") else folder.absolute() / "cache"
        yield Elsewhere(cluster, copy, cache=cache)


@contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Within, Python's temporary files lie in ``folder``: the rows of long data sets, which workers map."""
    before = tempfile.tempdir
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder.absolute())
    try:
        yield
    finally:
        tempfile.tempdir = before
        with suppress(OSError):  # somebody still has a file there
            folder.rmdir()
