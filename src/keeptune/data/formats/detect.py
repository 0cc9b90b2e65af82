"""Which format a source has: one of `shapes`, or a layout of columns. Exactly one must fit, or the user says which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.formats.recognise import PATTERNS, fitting, foreign, listed
from keeptune.data.formats.shapes.base import FORMATS, Columns, Format, formats
from keeptune.data.rows import Row

ANSWERED = ("messages", "conversations", "completion", "completions")  # what a label may judge
MEDIA = ("image", "images", "video", "videos", "audio", "audios")


def format_names() -> tuple[str, ...]:
    """What `--format` may name: formats, and layouts of columns."""
    return (*(each.name for each in formats()), *(pattern.name for pattern in PATTERNS))


def find_format(
    rows: Sequence[Row],
    columns: Sequence[str],
    *,
    name: str | None = None,
    mapped: bool = False,
    path: str | None = None,
) -> tuple[Format, Sequence[str]] | None:
    """The format of the rows and the columns that it takes; None where columns of text decide.

    Args:
        rows: all rows of the source; the first hundred are looked at.
        columns: all column names.
        name: the user's word for the format; it then decides alone.
        mapped: the user maps columns by hand, so that no format is looked for.
        path: named in errors.

    Raises:
        ConfigError: no such format.
        DataError: the rows do not have the named format, or fit two; rows that this tool does not train on.
    """
    if name is not None and name not in format_names():
        raise ConfigError(f"there is no format '{name}'", remedy=f"formats: {', '.join(format_names())}")
    seen = Columns.of(rows, columns)
    _refuse(seen, columns, path)
    if name is None and mapped:
        return None
    found = [(each, taken) for each in formats() if (taken := each.find(seen))]
    if name is not None:
        chosen = [pair for pair in found if pair[0].name == name]
        if not chosen and name in FORMATS:
            raise DataError(
                f"the rows are not of the format '{name}'",
                path=path,
                remedy=f"columns seen: {listed(columns)}; " + _nearest(found, columns),
            )
        return chosen[0] if chosen else None
    covered = {layout for each, _ in found for layout in each.covers}
    names = [each.name for each, _ in found] + [layout for layout in fitting(columns) if layout not in covered]
    if found and len(names) > 1:
        raise DataError(
            f"the columns {listed(columns)} fit {len(names)} formats: {', '.join(names)}",
            path=path,
            remedy="say which: " + " or ".join(f"--format {each}" for each in names) + " (in a recipe: format: ...)",
        )
    return found[0] if found else None


def _nearest(found: Sequence[tuple[Format, Sequence[str]]], columns: Sequence[str]) -> str:
    names = [each.name for each, _ in found] or fitting(columns)
    return f"they fit {', '.join(names)}" if names else "they fit no format"


def _refuse(seen: Columns, columns: Sequence[str], path: str | None) -> None:
    """Nothing, unless the rows are made for something else.

    Raises:
        DataError: preference pairs, judged answers, pictures or sound, a list of data sets.
    """
    if columns and 2 * len(seen.holding(_is_source)) > len(columns):
        raise DataError(
            "the file lists data sets, it holds no rows", path=path, remedy="name one of the files that it lists"
        )
    error = foreign(columns, path)
    if error is not None:
        raise error
    names = ("kto_tag", "label", "labels") if seen.any_of(*ANSWERED) else ("kto_tag",)
    judged = [column for column in seen.any_of(*names) if column in seen.holding(_is_judgement)]
    if seen.any_of("question") and seen.any_of("answer") and not seen.any_of("choices", "options"):
        judged += [column for column in seen.any_of("label") if set(seen.values[column]) <= {0, 1}]
    if judged:
        raise DataError(
            f"rows are judged answers (columns {listed(columns)}), which cannot be read",
            path=path,
            remedy=f"keep the rows that '{judged[0]}' calls good, and remove that column",
        )
    media = [column for column in seen.any_of(*MEDIA) if any(map(_filled, seen.values[column]))]
    if media:
        raise DataError(
            f"rows bring pictures, sound or video in '{media[0]}', which cannot be read",
            path=path,
            remedy="where the text alone is enough, remove that column",
        )


def _is_source(value: object) -> bool:
    return isinstance(value, Mapping) and ("file_name" in value or "hf_hub_url" in value)


def _is_judgement(value: object) -> bool:
    """True or false; a list of them judges the steps of an answer."""
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(item, bool) for item in values)


def _filled(value: object) -> bool:
    return bool(value) and not isinstance(value, int | float)
