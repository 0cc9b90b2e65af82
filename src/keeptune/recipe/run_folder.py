"""The folder that a command may write its run to."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from rich.console import Console

from keeptune.core.errors import RunFolderError
from keeptune.recipe.begun import Begun, another, held

AGAIN = {
    "study": "continuing the study in {}",
    "comparison": "{} holds this comparison; it is made again",
    "evaluation": "{} holds this evaluation; what is asked again is written again",
}


def run_folder(begun: Begun, default: Path, given: Path | None = None, console: Console | None = None) -> Path:
    """The folder for a run: free, or holding the same run, which goes on. One line says what was found there.

    Args:
        begun: what is to be run.
        default: where it goes if nobody says otherwise; beside it, numbered, where another run is there.
        given: the folder that the user named.
        console: where it is said.

    Raises:
        RunFolderError: the folder that the user named holds another run.
    """
    console = console or Console()
    reason = another(given or default, begun)
    if given is not None and reason is not None:
        raise RunFolderError(f"holds {reason}", where=str(given), remedy="name another --out, or remove this folder")
    numbered = (default.with_name(f"{default.name}-{number}") for number in count(2))
    folder = given or (default if reason is None else next(each for each in numbered if another(each, begun) is None))
    if reason is not None:
        console.print(f"{default} holds {reason}; this one goes to {folder}", highlight=False, soft_wrap=True)
    if held(folder):
        console.print(AGAIN[begun.kind].format(folder), highlight=False, soft_wrap=True)
    return folder
