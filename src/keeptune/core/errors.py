"""One error family. The command line prints one line per error and exits with the family's code.

KeeptuneError            1   anything we foresaw
├── ConfigError          2   a recipe, a flag, a field
├── DataError            3   a file, a row, a template, a leak between splits
├── ModelError           4   a model folder, a tokenizer, an adapter
├── RunFolderError       4   a run folder that holds another run
└── ResourceError        5   memory, disk, an extra that is not installed

Programming errors are not in the family and keep their traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class KeeptuneError(Exception):
    """Base of all errors that keeptune raises on purpose.

    ``where`` names the place (a file, a line, a field) and ``remedy`` what the reader can do next;
    both become part of the message.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.message = message
        self.where = where
        self.remedy = remedy
        parts = [f"{where}: {message}" if where else message]
        if remedy:
            parts.append(f"-> {remedy}")
        super().__init__(" ".join(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors cross from process to process: they are rebuilt without their constructors, which differ."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[KeeptuneError], args: tuple[Any, ...], state: dict[str, Any]) -> KeeptuneError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigError(KeeptuneError):
    """A recipe or a flag that cannot be used."""

    exit_code = 2


class DataError(KeeptuneError):
    """A file, a row or a template that cannot be used."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        field: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.path, self.line, self.field = path, line, field
        where = str(path) if path is not None else None
        if line is not None:
            where = f"{where or 'row'}:{line}"
        if field is not None:
            where = f"{where}: field '{field}'" if where else f"field '{field}'"
        super().__init__(message, where=where, remedy=remedy)


class ModelError(KeeptuneError):
    """A model, a tokenizer or an adapter that cannot be used."""

    exit_code = 4


class RunFolderError(KeeptuneError):
    """A run folder that holds another run, whose models and records would be lost."""

    exit_code = 4


class ResourceError(KeeptuneError):
    """Memory, disk or an optional package that is missing."""

    exit_code = 5


class MissingExtra(ResourceError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", remedy=f"pip install 'keeptune[{extra}]'")


class WorkerLost(ResourceError):
    """A worker that ended before its job was done: killed, out of memory, its machine gone."""
