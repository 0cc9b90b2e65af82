"""Whether the files that a recipe names are there: all of them at once, before any is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from keeptune.core.config import validate
from keeptune.core.errors import ConfigError, DataError, KeeptuneError
from keeptune.data.prompts.wordings import load_wordings
from keeptune.data.rows import source_files
from keeptune.evaluate.config import HarnessConfig, TaskConfig, TextConfig
from keeptune.evaluate.text import text_files
from keeptune.recipe.entries import Entry, RetainList, TaskFile, entries_of, relative_to


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


def named_entries(
    specs: Sequence[str],
    on_leak: str = "error",
    margin: float | None = None,
    fields: Mapping[str, str] | None = None,
) -> tuple[Entry, ...]:
    """What a command line names (see `config.entries_of`), with all its files there.

    Args:
        on_leak: of data files, as in a task's split.
        margin: points that data files and tasks in files of their own may lose.
        fields: the columns of data files.

    Raises:
        KeeptuneError: an entry cannot be used, or a file is missing.
    """
    entries = [entry for spec in specs for entry in entries_of(spec, margin)]
    for entry in entries:
        if "data" in entry:
            entry |= {"split": {"on_leak": on_leak}, "fields": dict(fields) if fields else None}
    checked = validate(RetainList, {"entries": entries}, source="command line").entries
    check_files(checked)
    return checked


def with_margins(entries: Sequence[Entry], margins: Mapping[str, float | str]) -> tuple[Entry, ...]:
    """The entries, those that ``margins`` names by their titles with that margin: points, of free text a share.

    Raises:
        ConfigError: a title that no entry has.
    """
    titles = [resolved(entry).title for entry in entries]
    if unknown := [name for name in margins if name not in titles]:
        raise ConfigError(f"no suite '{unknown[0]}'", where="--margin", remedy=f"name {', '.join(titles)}")
    return tuple(
        entry.model_copy(update={"margin": margins[title]}) if title in margins else entry
        for title, entry in zip(titles, entries, strict=True)
    )


def resolved(entry: Entry, data_root: Path = Path()) -> TaskConfig | TextConfig | HarnessConfig:
    """An entry that stands by itself: read from its own file, its relative paths below ``data_root``."""
    if isinstance(entry, HarnessConfig):
        return entry
    return entry.read() if isinstance(entry, TaskFile) else relative_to(entry, data_root)


def files_of(config: TaskConfig | TextConfig | HarnessConfig) -> dict[str, Callable[[], list[Path]]]:
    """By field, what finds the files that it names; lm-eval looks for its own."""
    if isinstance(config, HarnessConfig):
        return {}
    if isinstance(config, TextConfig):
        return {"text": partial(text_files, config.text)}
    wordings = config.wordings_file
    return {
        "data": partial(source_files, config.data),
        **({"pack": partial(_wordings, wordings)} if wordings is not None else {}),
    }


def _wordings(file: str) -> list[Path]:
    load_wordings(file)
    return [Path(file)]


def _missing(entry: Entry, data_root: Path) -> list[KeeptuneError]:
    """What is wrong with the files of one entry."""
    try:
        config = resolved(entry, data_root)
    except KeeptuneError as error:
        return [error]
    found = []
    for look in files_of(config).values():
        try:
            look()
        except KeeptuneError as error:
            found.append(error)
    return found
