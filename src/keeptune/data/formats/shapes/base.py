"""What a format is, and the registry of those that `--format` can name.

A format is a class in a file of its own, recognised by what stands in the cells:

    @FORMATS.register("question-in-tags")
    class QuestionInTags(Format):
        words = "texts with <q> and <a>"

        def find(self, columns: Columns) -> Sequence[str]:
            return columns.holding(lambda value: isinstance(value, str) and "<q>" in value)[:1]

        def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
            question, _, answer = fields[taken[0]].removeprefix("<q>").partition("<a>")
            yield {"prompt": question, "completion": answer}

A format brings its rows to the same fields: ``prompt`` (a text: what leak checks compare and templates may print),
``completion``, and the whole row in one further field (``messages``, ``segments`` or ``tokens``), from which it is
encoded, where prompt and completion are not all of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from keeptune.core.registry import Registry
from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.recognise import COMPLETION, ColumnSchema, canonical
from keeptune.data.formats.values import UnusableValue
from keeptune.data.rows import Row

LOOKED_AT = 100  # rows that a format is recognised from
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """Column -> its first values that are not null."""

    values: Mapping[str, Sequence[Any]]
    named: Mapping[str, str] = field(default_factory=dict)  # canonical name -> column

    @classmethod
    def of(cls, rows: Sequence[Row], columns: Sequence[str]) -> Columns:
        """Of the first rows of a source."""
        first = rows[:LOOKED_AT]
        values = {c: [v for row in first if (v := row.fields.get(c)) is not None] for c in columns}
        return cls(values, {canonical(column): column for column in reversed(columns)})

    def holding(self, test: Callable[[Any], bool]) -> list[str]:
        """Columns where more than half of the values pass the test."""
        return [c for c, values in self.values.items() if values and 2 * sum(map(test, values)) > len(values)]

    def any_of(self, *names: str) -> list[str]:
        """The columns of these names that are there."""
        return [self.named[name] for name in names if name in self.named]


class Format(ABC):
    """One format.

    Attributes:
        name: what `--format` calls it, as it was registered.
        words: as `data check` shows it.
        order: where it stands among the formats, in messages that list those that fit.
        roles: the fields that a row becomes, in the order in which they are shown.
        covers: column layouts that would read a part of it only.
    """

    name: ClassVar[str]
    words: ClassVar[str]
    order: ClassVar[int] = 1_000
    roles: ClassVar[tuple[str, ...]] = ("prompt", COMPLETION)
    covers: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def find(self, columns: Columns) -> Sequence[str]:
        """The columns that it takes; nothing where the rows are not of this format."""

    @abstractmethod
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterable[Fields]:
        """The fields of every example in a row; the columns that were taken are left out of them.

        Raises:
            UnusableValue: the row cannot be used.
        """

    def layout(self, columns: Sequence[str]) -> ColumnSchema:
        """How the fields are read that the rows have become."""
        roles = {role: role for role in self.roles}
        return ColumnSchema(self.name, roles, metadata=tuple(c for c in columns if c not in roles), shape=self.words)


FORMATS: Registry[Format] = Registry("format", "keeptune.data.formats.shapes")


def formats() -> list[Format]:
    """One of every format, in order."""
    return sorted((FORMATS[name]() for name in FORMATS), key=lambda each: (each.order, each.name))


def has_keys(*wanted: tuple[str, ...]) -> Callable[[Any], bool]:
    """Whether a value is a list of objects whose first has one key of every group."""

    def test(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not value or not isinstance(value[0], Mapping):
            return False
        return all(any(key in value[0] for key in group) for group in wanted)

    return test


def items(fields: Fields, column: str) -> Sequence[Any]:
    """The list in a column; nothing for null.

    Raises:
        UnusableValue: it is no list.
    """
    value = fields.get(column)
    if value is not None and not isinstance(value, list | tuple):
        raise UnusableValue(f"field '{column}' is not a list")
    return value or ()
