"""The folder that a command may write its run to."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

from rich.console import Console

from keeptune.core.errors import RunFolderError
from keeptune.core.lines import print_line
from keeptune.core.lock import FILE as LOCK
from keeptune.core.lock import locked
from keeptune.recipe.begun import FILE, Begun, another, held

AGAIN = {
    "study": "continuing the study in {}",
    "comparison": "{} holds this comparison; it is made again",
    "evaluation": "{} holds this evaluation; what is asked again is written again",
}


def run_folder(
    begun: Begun,
    default: Path,
    given: Path | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> Path:
    """The folder for a run: free, or holding the same run, which goes on. One line says what was found there.

    Args:
        begun: what is to be run.
        default: where it goes if nobody says otherwise; beside it, numbered, where another run is there.
        given: the folder that the user named.
        overwrite: remove the run that is there, and begin anew.
        console: where the line goes.

    Raises:
        RunFolderError: the folder that the user named holds another run, or a process that runs is in it.
    """
    console = console or Console()
    if overwrite:
        remove_run(given or default, console)
    reason = another(given or default, begun)
    if given is not None and reason is not None:
        raise RunFolderError(f"holds {reason}", where=str(given), remedy="name another --out, or say --overwrite")
    numbered = (default.with_name(f"{default.name}-{number}") for number in count(2))
    folder = given or (default if reason is None else next(each for each in numbered if another(each, begun) is None))
    if reason is not None:
        print_line(f"{default} holds {reason}; this one goes to {folder}", console)
    if held(folder):
        print_line(AGAIN[begun.kind].format(folder), console)
    return folder


def remove_run(folder: Path, console: Console) -> None:
    """Remove a run of keeptune's; a folder that it did not begin is left alone, and refused later.

    Raises:
        RunFolderError: another process is in it.
    """
    if (folder / FILE).is_file() and held(folder):
        with locked(folder):
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
        print_line(f"removed the run in {folder}", console)
