"""python:file.py:function: a user's own function ``f(prediction: str, references: list[str]) -> float`` as a metric."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.evaluate.metrics.base import Answer, Metric, Scores, from_0_to_1, sha256

SIGNATURE = "def f(prediction: str, references: list[str]) -> float, a value from 0 to 1"


class PythonFunction(Metric):
    """What a function of the user's file returns for every answer.

    Pickled, it is the name, the file's place and its hash: the function is loaded again where it is unpickled.

    Args:
        name: ``python:file.py:function``.
        path: the file, where the name's path is relative to another folder than the current one.

    Raises:
        ConfigError: no such file, no such function, or a file that does not run.
    """

    choices_as_text = True

    def __init__(self, name: str, path: Path | None = None) -> None:
        file, _, function = name.removeprefix("python:").rpartition(":")
        if not file or not function:
            raise ConfigError(f"'{name}' names no function", where="metric", remedy="write python:file.py:function")
        self.name = name
        self._file = file
        self._path = (path or Path(file)).absolute()
        self._hash, self._function = _load(self._path, file, function)

    @property
    def key(self) -> str:
        """The name and the hash of the file that was run."""
        return f"{self.name} {self._hash}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Functions of files that are no modules cannot be pickled."""
        return _again, (self.name, self._path, self.key)

    def score(self, answers: Sequence[Answer]) -> Scores:
        """One call of the function per answer.

        Raises:
            DataError: the function fails, or returns anything else than a number from 0 to 1.
        """
        return Scores(tuple(map(self._call, answers)))

    def _call(self, answer: Answer) -> float:
        try:
            value = self._function(answer.prediction, list(answer.references))
        except Exception as error:
            shown = f"prediction {answer.prediction[:60]!r}, first reference {answer.references[0][:60]!r}"
            raise DataError(
                f"the metric failed on item {answer.id}: {type(error).__name__}: {error}",
                path=self._file,
                remedy=f"{shown}; {SIGNATURE}",
            ) from error
        number = from_0_to_1(value)
        if number is None:
            raise DataError(f"the metric gave {value!r} for item {answer.id}", path=self._file, remedy=SIGNATURE)
        return number


def _again(name: str, path: Path, key: str) -> PythonFunction:
    """The metric in another process.

    Raises:
        ConfigError: the file is not what it was, and would give other scores.
    """
    metric = PythonFunction(name, path)
    if metric.key != key:
        raise ConfigError(
            "the file has changed since the metric was loaded", where=f"metric: {path}", remedy="start again"
        )
    return metric


def _load(path: Path, shown: str, function: str) -> tuple[str, Callable[..., Any]]:
    """Run a user's Python file: its hash, and one function of it. The file is the user's own and is trusted."""
    where = f"metric: {shown}"
    if not path.is_file():
        raise ConfigError("no such file", where=where, remedy="the path is relative to where you run")
    spec = importlib.util.spec_from_file_location(f"keeptune_user_metric_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError("not a Python file", where=where, remedy="give it the ending .py")
    module = importlib.util.module_from_spec(spec)
    content = path.read_bytes()
    try:
        exec(compile(content, path, "exec"), vars(module))  # what is hashed is what is run, and no old bytecode
    except Exception as error:
        raise ConfigError(
            f"the file does not run: {type(error).__name__}: {error}", where=where, remedy=f"python {shown}"
        ) from error
    call = getattr(module, function, None)
    if not callable(call):
        found = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"no function '{function}'", where=where, remedy=f"it has: {', '.join(found) or 'none'}")
    return sha256(content), call
