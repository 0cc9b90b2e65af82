"""Whether the files that a recipe names are there: all of them at once, before any is read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from keeptune.core.errors import DataError, KeeptuneError
from keeptune.data.readers import source_files
from keeptune.data.wordings import load_wordings
from keeptune.evaluate.config import HarnessConfig, TaskConfig
from keeptune.evaluate.text import text_files
from keeptune.recipe.entries import Entry, TaskFile, relative_to


def check_files(entries: Iterable[Entry], data_root: Path = Path()) -> None:
    """Nothing, where every data, text and wordings file of the entries, and every task's own file, is there.

    Raises:
        KeeptuneError: one is not. Where there are several, the first is explained and the others are named.
    """
    failed: dict[str, KeeptuneError] = {}  # by what is said of them: a file that two entries name is said once
    for entry in entries:
        for error in _missing(entry, data_root):
            failed.setdefault(str(error), error)
    if not failed:
        return
    first, *others = failed.values()
    if not others:
        raise first
    listed = "; ".join(f"{error.where}: {error.message}" if error.where else error.message for error in others)
    raise DataError(f"{first.message}; and so with {len(others)} more: {listed}", path=first.where, remedy=first.remedy)


def _missing(entry: Entry, data_root: Path) -> list[KeeptuneError]:
    """What is wrong with the files of one entry; lm-eval looks for its own."""
    if isinstance(entry, HarnessConfig):
        return []
    try:
        config = entry.read() if isinstance(entry, TaskFile) else relative_to(entry, data_root)
    except KeeptuneError as error:
        return [error]
    found = []
    wordings = config.wordings_file if isinstance(config, TaskConfig) else None
    for look in (
        partial(source_files, config.data) if isinstance(config, TaskConfig) else partial(text_files, config.text),
        *([partial(load_wordings, wordings)] if wordings is not None else ()),
    ):
        try:
            look()
        except KeeptuneError as error:
            found.append(error)
    return found
