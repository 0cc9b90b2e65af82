"""From a source to examples: read, recognise, turn cells into texts, set unusable rows aside, find clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.files import sha256_of
from keeptune.core.records import Part
from keeptune.core.units import content_hash
from keeptune.data.examples import Example
from keeptune.data.formats.columns import identifiers, part_column, renamed, renamings, template_names
from keeptune.data.formats.conversation import Supervise, unread_keys
from keeptune.data.formats.convert import converted, from_json
from keeptune.data.formats.detect import find_format
from keeptune.data.formats.quarantine import Quarantined, refuse_many, write_quarantine
from keeptune.data.formats.recognise import COMPLETION, ColumnSchema, columns_of, listed, recognise
from keeptune.data.formats.shapes.base import LOOKED_AT, Format
from keeptune.data.formats.values import UnusableValue, as_choices, as_references, as_text, chosen
from keeptune.data.rows import Row, read_rows, source_files, unread
from keeptune.data.splits.groups import few_answers, share_clusters
from keeptune.data.storage.lazy import LazyMap, materialize
from keeptune.data.storage.spill import Spill

__all__ = ["Loaded", "Quarantined", "load_examples", "write_quarantine"]

SAID_EVERY = 10_000  # rows between two calls of ``progress``


@dataclass(frozen=True, slots=True)
class Loaded:
    """The usable examples of one source, and what was learned on the way.

    ``layout`` is None where no layout fits and the caller brings templates of its own.
    """

    source: str
    examples: Sequence[Example]
    layout: ColumnSchema | None
    quarantined: Sequence[Quarantined]
    sha256: str  # of the file's bytes; of all files of a folder; of the rows of a hub set
    notes: tuple[str, ...] = ()


def load_examples(
    source: str,
    *,
    fields: Mapping[str, str] | None = None,
    cluster: str | None = None,
    label: str | None = None,
    templated: bool = False,
    as_is: bool = False,
    format: str | None = None,
    supervise: Supervise | None = None,
    progress: Callable[[int], None] | None = None,
) -> Loaded:
    """Read a source into examples. Of many rows all but the first lie on disk, and are read when looked at.

    In an example's fields, columns with a role hold texts (a list of texts where a row has several
    references), other columns what the source holds. The part column and row identifiers are left out.
    Rows with the same prompt, context or premise share a cluster, unless ``cluster`` names a column.

    Args:
        source: see `read_rows`.
        fields: role -> column, where columns are not recognised ("prompt": any one; others: see `ColumnSchema`).
        cluster: column whose equal values mark rows from one source.
        label: column to stratify by; otherwise the answer, where answers are few.
        templated: the caller has templates, so columns that fit no layout are no error.
        as_is: the caller's wordings were written for these columns: nothing is recognised, and values keep their types.
        format: one of `format_names`, where several fit or the wrong one was found.
        supervise: assistant turns to learn from: all, the last, or those of weight not 0. Default: weights, or all.
        progress: called with the number of rows read so far, now and then.

    Raises:
        DataError: unreadable source, unrecognised columns, no rows, or more than 5 % unusable rows.
        ConfigError: a column that is not there; an unknown ``format``; ``supervise`` without conversations.
    """
    rows, names = _with_template_names(_read(source, progress), source)
    columns = list(names.values())
    fields = None if fields is None else {role: names.get(column, column) for role, column in fields.items()}
    cluster, label = _known("cluster", cluster, names, source), _known("label", label, names, source)
    digest = _sha256(source, rows)
    before = rows if as_is else from_json(rows, columns)
    found = None if as_is else find_format(before, columns, name=format, mapped=fields is not None, path=source)
    rows, columns, bad = (before, columns, ()) if found is None else _converted(before, found, supervise, source)
    parts, said_in = part_column(rows, columns)
    content = [column for column in columns if column != said_in]
    layout = None if as_is else _layout(content, found, fields, source, templated, format)
    if supervise is not None and not (layout and layout.talks):
        raise ConfigError("supervise chooses among the turns of conversations", remedy="leave it out for this data")
    builder = _Builder(layout, identifiers(content, layout), cluster, label, said_in, bad)
    for row, part in zip(rows, parts, strict=True):
        builder.add(row, part)
    quarantined, examples = builder.quarantined.finish(), builder.examples.finish()
    refuse_many(quarantined, len(rows) + len(bad), source)
    examples = examples if cluster else share_clusters(examples, layout)
    if layout is not None:
        examples, layout = _with_choices(examples, replace(layout, part=said_in), labelled=label is not None)
    notes = [*renamings(names), *builder.notes(), *_part_notes(source)]
    if layout is not None:
        notes += () if templated else _unused_note(layout, builder.left_out)
    if layout is not None and layout.talks:
        notes += [*_turn_notes(examples, supervise), *_key_notes(before, found[1] if found else ())]
    return Loaded(source, examples, layout, quarantined, digest, tuple(notes))


def _converted(
    rows: Sequence[Row], found: tuple[Format, Sequence[str]], supervise: Supervise | None, source: str
) -> tuple[Sequence[Row], list[str], Sequence[Quarantined]]:
    """(rows that a format makes, their columns, rows that it cannot read)."""
    made, bad = converted(rows, *found, supervise)
    refuse_many(bad, len(made) + len(bad), source)
    return made, columns_of(row.fields for row in made), bad


def _with_template_names(rows: Sequence[Row], source: str) -> tuple[Sequence[Row], dict[str, str]]:
    """The rows, columns renamed to what a template can say; and column -> name."""
    names = template_names(columns_of(row.fields for row in rows), source)
    if any(column != name for column, name in names.items()):
        rows = materialize(LazyMap(rows, partial(renamed, names=names)))
    return rows, names


def _known(option: str, column: str | None, names: Mapping[str, str], source: str) -> str | None:
    """The column that an option names, as templates name it.

    Raises:
        ConfigError: it is not there.
    """
    column = column and names.get(column, column)
    if column is not None and column not in names.values():
        raise ConfigError(
            f"{option} names the column '{column}', which {source} does not have",
            remedy=f"columns seen: {', '.join(names.values())}",
        )
    return column


def _with_choices(
    examples: Sequence[Example], layout: ColumnSchema, labelled: bool
) -> tuple[Sequence[Example], ColumnSchema]:
    """Where answers are few, the layout with them as choices, and the examples with theirs as label."""
    choices = None if layout.shape else few_answers(examples, layout)
    if choices is not None and not labelled:
        examples = materialize(LazyMap(examples, partial(_labelled, column=layout.completion)))
    return examples, replace(layout, choices=choices)


def _read(source: str, progress: Callable[[int], None] | None) -> Sequence[Row]:
    """All rows of a source; many of them lie on disk."""
    rows: Spill[Row] = Spill()
    for row in read_rows(source):
        rows.append(row)
        if progress is not None and len(rows) % SAID_EVERY == 0:
            progress(len(rows))
    if not rows:
        raise DataError("no rows", path=source, remedy="the file is empty or holds only a header")
    return rows.finish()


def _labelled(example: Example, column: str) -> Example:
    """The example with what stands in a column as its label."""
    return replace(example, label=example.fields[column])


class _Builder:
    """Turns rows into examples, one after another."""

    def __init__(
        self,
        layout: ColumnSchema | None,
        left_out: set[str],
        cluster: str | None,
        label: str | None,
        part: str | None,
        quarantined: Sequence[Quarantined] = (),
    ) -> None:
        self.layout, self.cluster, self.label = layout, cluster, label
        self.left_out = left_out | ({part} if part else set())
        self.examples: Spill[Example] = Spill()
        self.quarantined: Spill[Quarantined] = Spill(quarantined)
        self.numbers: Counter[str] = Counter()  # column -> rows whose number became a text

    def add(self, row: Row, part: Part | None) -> None:
        """The row as an example, or into quarantine."""
        try:
            fields = {name: value for name, value in row.fields.items() if name not in self.left_out}
            if self.layout is not None:
                self._with_roles(fields, self.layout)
            cluster = self._named(row, self.cluster)
            label = self._named(row, self.label)
        except UnusableValue as error:
            self.quarantined.append(Quarantined(row.path, row.line, str(error), row.fields))
            return
        self.examples.append(
            Example.make(fields, cluster=cluster, label=label, part=part, path=row.path, line=row.line)
        )

    def _with_roles(self, fields: dict[str, Any], layout: ColumnSchema) -> None:
        """Columns with a role become texts, in place."""
        raw = dict(fields)
        for role, column in layout.roles.items():
            if role not in {COMPLETION, "choices"}:
                fields[column] = self._text(raw.get(column), column)
                empty = not fields[column].strip() and role not in {"input", "instruction", "context", "system"}
                if empty and not (role == "prompt" and layout.shape):
                    raise UnusableValue(f"field '{column}' is empty")
        if layout.name == "instruction" and not any(
            fields[layout.roles[role]].strip() for role in ("instruction", "input") if role in layout.roles
        ):
            raise UnusableValue(f"field '{layout.roles['instruction']}' is empty")
        fields[layout.completion] = self._completion(raw, fields, layout)
        for column in layout.references:
            fields.pop(column, None)

    def _completion(self, raw: Mapping[str, Any], fields: dict[str, Any], layout: ColumnSchema) -> str | list[str]:
        """The text to be learned, or the list of references."""
        column = layout.completion
        if "choices" in layout.roles and raw.get(layout.roles["choices"]) is not None:
            texts, labels = as_choices(raw[layout.roles["choices"]], layout.roles["choices"])
            fields[layout.roles["choices"]] = texts
            return chosen(raw.get(column), texts, labels, column)
        references: list[str] = []
        for name in (column, *layout.references):
            if isinstance(raw.get(name), int | float):
                self.numbers[name] += 1
            references += as_references(raw.get(name), name)
        references = list(dict.fromkeys(references))
        if not references:
            raise UnusableValue(f"field '{column}' is {'null' if raw.get(column) is None else 'empty'}")
        return references[0] if len(references) == 1 else references

    def _text(self, value: Any, column: str) -> str:
        if isinstance(value, int | float):
            self.numbers[column] += 1
        return as_text(value, column)

    def _named(self, row: Row, column: str | None) -> str | None:
        """The value of the cluster or label column.

        Raises:
            UnusableValue: it is empty.
        """
        if column is None:
            return None
        text = as_text(row.fields.get(column), column)
        if not text.strip():
            raise UnusableValue(f"field '{column}' is empty")
        return text

    def notes(self) -> tuple[str, ...]:
        """What was changed without being wrong."""
        return tuple(
            f"field '{name}': numbers or truth values in {n} rows were read as text" for name, n in self.numbers.items()
        )


def _layout(
    columns: Sequence[str],
    found: tuple[Format, Sequence[str]] | None,
    fields: Mapping[str, str] | None,
    source: str,
    templated: bool,
    name: str | None,
) -> ColumnSchema | None:
    """The layout of a format, where one was found; otherwise of the columns."""
    if found is not None:
        return found[0].layout(columns)
    try:
        return recognise(columns, fields=fields, path=source, name=name)
    except DataError:
        if templated and name is None:
            return None
        raise


def _part_notes(source: str) -> list[str]:
    return [f"'{name}' is not read: its name names no part" for name in unread(source)]


def _unused_note(layout: ColumnSchema, left_out: set[str]) -> tuple[str, ...]:
    unused = [] if layout.shape else [column for column in layout.metadata if column not in left_out]
    return (f"columns that the model is not shown: {listed(unused)}",) if unused else ()


def _turn_notes(examples: Sequence[Example], supervise: Supervise | None) -> tuple[str, ...]:
    """How many answers of the conversations are learned from, and what decided that."""
    answers = trained = 0
    for row in examples:
        learned = [turn["trained"] for turn in row.fields["messages"] if turn["role"] == "assistant"]
        answers, trained = answers + len(learned), trained + sum(learned)
    why = {None: "weights decide", "all": "all", "last": "the last of each", "weights": "weights decide"}[supervise]
    if trained == answers and supervise in (None, "all"):
        why = "all"
    return (f"{trained:,} of {answers:,} assistant turns are learned from ({why})",)


def _key_notes(rows: Sequence[Row], taken: Sequence[str]) -> tuple[str, ...]:
    """Keys of messages that nothing reads, by the first rows."""
    found = Counter(key for row in rows[:LOOKED_AT] for c in taken for key in unread_keys(row.fields.get(c)))
    if not found:
        return ()
    shown = ", ".join(f"'{key}'" for key in sorted(found)[:8])
    return (f"keys of messages that are not read: {shown}",)


def _sha256(source: str, rows: Sequence[Row]) -> str:
    """Hex digest of what was read."""
    files = source_files(source)
    if not files:
        return content_hash([dict(row.fields) for row in rows], length=64)
    digests = [sha256_of(file) for file in files]
    if Path(source).expanduser().is_file():
        return digests[0]
    return content_hash([(file.name, digest) for file, digest in zip(files, digests, strict=True)], length=64)
