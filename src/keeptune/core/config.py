"""Recipes: strict, frozen configuration objects, read from YAML with errors that name the line.

Every class of the package that has settings has a `Config` beside it; a recipe is an overlay on the defaults.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from keeptune.core.errors import ConfigError
from keeptune.core.units import content_hash

Location = tuple[str | int, ...]


class Config(BaseModel):
    """Base of all settings: frozen, unknown keys are errors, a docstring below every field says what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Let a field that a subclass gives another default keep its description."""
        super().__pydantic_init_subclass__(**kwargs)
        inherited = {
            name: field
            for base in reversed(cls.__mro__[1:])
            if issubclass(base, BaseModel)
            for name, field in base.model_fields.items()
            if field.description
        }
        bare = [name for name, field in cls.model_fields.items() if not field.description and name in inherited]
        for name in bare:
            cls.model_fields[name].description = inherited[name].description
        if bare:
            cls.model_rebuild(force=True)

    def digest(self) -> str:
        """Content hash of the resolved settings."""
        return content_hash(self.model_dump(mode="json"))


def _number_or_word(value: Any) -> str:
    return "(word)" if isinstance(value, str) else "(number)"


CountOrAuto = Annotated[
    Annotated[int, Field(ge=1), Tag("(number)")] | Annotated[Literal["auto"], Tag("(word)")],
    Discriminator(_number_or_word),
]
"""A number of things, 1 or more, or 'auto': it is found out."""


C = TypeVar("C", bound=Config)


def read_recipe(kind: type[C], path: Path | str, overrides: Sequence[str] = ()) -> C:
    """Read a YAML file as a `kind`; ``overrides`` are 'section.field=value' strings, values in YAML.

    Raises:
        ConfigError: the file is missing, is not YAML, or has an unknown key or a bad value (with its line).
    """
    return parse_recipe(kind, recipe_text(path), source=str(path), overrides=overrides)


def recipe_text(path: Path | str) -> str:
    """The text of a recipe's file.

    Raises:
        ConfigError: the file is missing or is not UTF-8; the files that may have been meant are named.
    """
    path = Path(path)
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = f"did you mean {', '.join(sorted(near)[:3])}?" if near else "check the path"
        raise ConfigError("no such recipe", where=str(path), remedy=hint)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("not UTF-8 text", where=str(path), remedy="save the recipe as UTF-8") from error


def parse_recipe(kind: type[C], text: str, *, source: str = "recipe", overrides: Sequence[str] = ()) -> C:
    """Parse YAML text as a `kind` (see `read_recipe`)."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"not YAML: {getattr(error, 'problem', error)}", where=where) from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError("a recipe is a mapping of keys to values", where=source)
    lines = dict(_lines(node, ())) if node is not None else {}
    for override in overrides:
        _apply(values, override)
    return validate(kind, values, source=source, lines=lines)


def validate(
    kind: type[C], values: dict[str, Any], *, source: str = "recipe", lines: dict[Location, int] | None = None
) -> C:
    """Check a mapping against a `kind`; the first error is reported with its line and the nearest key.

    Raises:
        ConfigError: an unknown key, a missing key or a bad value.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        # Tags of unions are written "(tag)": they are no part of the recipe.
        location: Location = tuple(part for part in first["loc"] if not str(part).startswith("("))
        written = _as_written(lines, location) if lines else location
        name = ".".join(str(part) for part in written) or kind.__name__
        line = _nearest_line(lines or {}, written)
        where = f"{source}:{line}" if line else source
        if first["type"] == "extra_forbidden":
            known = sorted(_keys_at(kind, location[:-1]))
            near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
            remedy = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            raise ConfigError(f"unknown key '{name}'", where=where, remedy=remedy) from error
        if first["type"] == "missing":
            raise ConfigError(f"'{name}' is missing", where=where, remedy=f"add '{location[-1]}:'") from error
        reason = first["msg"].removeprefix("Value error, ")
        shown = repr(first["input"])
        raise ConfigError(f"{name}={shown[:80]}: {reason}", where=where) from error


def _apply(values: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"'{override}' is not 'section.field=value'", where="--set")
    *sections, last = name.strip().split(".")
    place: Any = values
    for section in sections:
        if isinstance(place, list) and section.isdigit() and int(section) < len(place):
            place = place[int(section)]
        elif isinstance(place, dict):
            place = place.setdefault(section, {})
        if not isinstance(place, dict | list):
            raise ConfigError(f"'{section}' in '{name}' is not a section", where="--set")
    if not isinstance(place, dict):
        raise ConfigError(f"'{name}' does not name a field", where="--set")
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of '{name}' is not YAML: {text}", where="--set") from error


def _lines(node: yaml.Node, prefix: Location) -> Iterator[tuple[Location, int]]:
    """(location, line from 1) of every value of a YAML tree."""
    yield prefix, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*prefix, key.value), key.start_mark.line + 1
            for location, line in _lines(value, (*prefix, key.value)):
                if len(location) > len(prefix) + 1:
                    yield location, line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*prefix, index))


def _as_written(lines: dict[Location, int], location: Location) -> Location:
    """The location without positions that the file does not have, because one task may be written without a list."""
    written: Location = ()
    for part in location:
        if part != 0 or (*written, part) in lines:
            written = (*written, part)
    return written


def _nearest_line(lines: dict[Location, int], location: Location) -> int | None:
    for end in range(len(location), 0, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return None


def _keys_at(kind: Any, location: Location) -> set[str]:
    """Field names allowed at a location, through lists, optionals and unions."""
    kinds = [kind]
    for part in location:
        following: list[Any] = []
        for each in kinds:
            for model in _models(each):
                if isinstance(part, str) and part in model.model_fields:
                    following.append(model.model_fields[part].annotation)
            if isinstance(part, int):
                following.extend(get_args(each))
        kinds = following or kinds
    return {name for each in kinds for model in _models(each) for name in model.model_fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
