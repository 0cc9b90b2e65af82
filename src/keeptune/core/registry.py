"""Named classes of one kind, each registered in the file that defines it.

A registry imports the modules of one package the first time that it is asked, and with them the modules that other
distributions name as entry points of the group ``keeptune``. So a new method, remedy, metric, format or tracker is one
file: in the package of its kind, or in a package of its own that says in its pyproject.toml

    [project.entry-points.keeptune]
    my-remedy = "my_package.my_remedy"
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

T = TypeVar("T")
Registered = TypeVar("Registered", bound=type)

GROUP = "keeptune"  # of entry points


class Registry(Generic[T]):
    """Classes by their names.

    Args:
        kind: what one of them is called in messages: "remedy".
        package: its modules register themselves when they are imported; those of packages inside it do not.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self._package = kind, package
        self._classes: dict[str, type[T]] = {}
        self._imported = False

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """A decorator that makes a class known by ``name`` and tells the class that name.

        Raises:
            ValueError: another class has the name.
        """

        def add(cls: Registered) -> Registered:
            known = self._classes.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(
                    f"two classes want to be the {self.kind} '{name}': {known.__module__}, {cls.__module__}"
                )
            cls.name = name  # type: ignore[attr-defined]
            self._classes[name] = cls
            return cls

        return add

    def __getitem__(self, name: str) -> type[T]:
        """The class of a name.

        Raises:
            ValueError: there is none; the nearest names are given.
        """
        self._import()
        if name not in self._classes:
            raise ValueError(f"'{name}' is no {self.kind}; use {either(name, tuple(self))}")
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        self._import()
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        """Names, in alphabetical order."""
        self._import()
        return iter(sorted(self._classes))

    def _import(self) -> None:
        if self._imported:
            return
        self._imported = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
            if not module.ispkg:
                importlib.import_module(module.name)
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            entry.load()


def either(word: str, known: tuple[str, ...]) -> str:
    """The nearest known words, or all of them: 'kl or l2sp'."""
    near = tuple(difflib.get_close_matches(word, known, n=2)) or known
    return " or ".join(near) if len(near) < 3 else f"{', '.join(near[:-1])} or {near[-1]}"
