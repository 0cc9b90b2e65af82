"""Wordings from files that others wrote: promptsource's templates.yaml, and lists of pairs as FLAN has them.

All become templates whose variables are the columns of the rows. What a wording needs and a row lacks is named when
the row is rendered.

- promptsource (Bach et al. 2022, arXiv 2202.01279): ``templates: {id: {name, jinja, answer_choices}}``.
- FLAN (Wei et al. 2022, arXiv 2109.01652): ``[[prompt, answer], ...]`` with ``{field}`` in both, in YAML or JSON; or a
  mapping from the names of tasks to such lists, of which ``file.yaml:name`` names one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.prompts.templates import SEPARATOR, Template, renaming

SUFFIXES = (".yaml", ".yml", ".json")
_TAGS = ("!Template", "!TemplateMetadata")  # of promptsource; they say nothing that the keys do not


class _Loader(yaml.SafeLoader):
    """Safe YAML in which promptsource's two tags stand for plain mappings."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    return loader.construct_mapping(node, deep=True)


for _tag in _TAGS:
    _Loader.add_constructor(_tag, _mapping)


def is_wordings_file(name: str) -> bool:
    """True if a recipe's ``pack`` names a file."""
    return _file(name)[0].endswith(SUFFIXES)


def _file(name: str) -> tuple[str, str]:
    """'a/b.yaml:rte' -> ('a/b.yaml', 'rte')."""
    found = re.fullmatch(r"(.+\.(?:yaml|yml|json)):([^/\\:]+)", name)
    return (found[1], found[2]) if found else (name, "")


def load_wordings(name: str, fields: Mapping[str, str] | None = None) -> tuple[Template, ...]:
    """The wordings of a file, in its order.

    Args:
        name: the file; behind a colon the task, where it has several.
        fields: name in the wordings -> column of the rows, where they differ.

    Raises:
        ConfigError: no such file, or several tasks and none named.
        DataError: it holds no wordings, or one that cannot be used.
    """
    path, task = _file(name)
    content = _read(Path(path))
    if isinstance(content, Mapping) and isinstance(content.get("templates"), Mapping):
        found = [_promptsource(path, each, fields or {}) for each in content["templates"].values()]
    else:
        found = [_pair(path, number, each, fields or {}) for number, each in enumerate(_list(content, path, task), 1)]
    if not found:
        raise DataError("a file without wordings", path=path, remedy="leave out 'pack', or give templates")
    return tuple(found)


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"cannot read wordings: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("wordings that are not UTF-8", path=str(path), remedy="save the file as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else None
        reason = getattr(error, "problem", None) or str(error)
        raise DataError(f"wordings that are no YAML: {reason}", path=str(path), line=line, remedy="mend it") from error


def _promptsource(path: str, wording: Any, fields: Mapping[str, str]) -> Template:
    if not isinstance(wording, Mapping) or not isinstance(wording.get("jinja"), str):
        raise DataError("a wording without 'jinja'", path=path, remedy="write it as promptsource does")
    name = f"{_title(path)}/{wording.get('name') or wording.get('id') or 'unnamed'}"
    choices = wording.get("answer_choices") or None
    try:
        head = _renamed(wording["jinja"] + (choices or ""), fields)
        return Template.parse(head + wording["jinja"], name, choices and head + choices)
    except DataError as error:
        raise DataError(error.message, path=path, remedy=error.remedy) from error


def _renamed(text: str, fields: Mapping[str, str]) -> str:
    """Jinja that gives columns the names that a wording uses."""
    used = {name: fields[name] for name in fields if re.search(rf"\b{re.escape(name)}\b", text)}
    return renaming({name: column for name, column in used.items() if name.isidentifier()})


def _list(content: Any, path: str, task: str) -> Sequence[Any]:
    """The pairs of the one task that is meant."""
    if isinstance(content, Mapping):
        lists = {str(name): value for name, value in content.items() if isinstance(value, list)}
        if task not in lists and not (len(lists) == 1 and not task):
            raise ConfigError(
                f"no task '{task}'" if task else "wordings of several tasks",
                where=path,
                remedy=f"name one: {', '.join(f'{path}:{name}' for name in list(lists)[:5])}",
            )
        content = lists[task] if task else next(iter(lists.values()))
    if not isinstance(content, list):
        raise DataError(
            "neither promptsource's templates nor a list of pairs", path=path, remedy="write [[prompt, answer], ...]"
        )
    return content


def _pair(path: str, number: int, pair: Any, fields: Mapping[str, str]) -> Template:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
        raise DataError(
            f"wording {number} is not a pair of texts",
            path=path,
            remedy="write it as [prompt, answer], {field} in both",
        )
    try:
        prompt, answer = (_jinja(side, fields) for side in pair)
        return Template.parse(f"{prompt}{SEPARATOR}{answer}", f"{_title(path)}/{number}")
    except ValueError as error:
        raise DataError(
            f"wording {number}: {error}", path=path, remedy="name columns as {column}, nothing more"
        ) from error


def _jinja(text: str, fields: Mapping[str, str]) -> str:
    """A format string as Jinja: names only, for '{a.b}' and '{a[0]}' would reach into what is not theirs."""
    pieces = []
    for literal, name, spec, conversion in Formatter().parse(text):
        if literal:
            pieces.append(f"{{% raw %}}{literal}{{% endraw %}}" if "{" in literal else literal)
        if name is not None:
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"'{{{name}}}' is not a column's name")
            pieces.append(f"{{{{ fields[{fields.get(name, name)!r}] }}}}")
    return "".join(pieces)


def _title(path: str) -> str:
    """The file's name, or its folder's where all files are called the same."""
    file = Path(path)
    return file.parent.name if file.stem == "templates" and file.parent.name else file.stem
