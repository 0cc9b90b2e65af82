"""Write docs/commands.md from the command line itself, and docs/api.md from the docstrings of the public names.

python docs/make_reference.py
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import typer
from pydantic import BaseModel

import keeptune
from keeptune.cli.main import app
from results_tables import table

DOCS = Path(__file__).parent
COMMAND = "python docs/make_reference.py"

COMMANDS = f"""# Commands

Every command and option, written by `{COMMAND}` from the commands themselves;
`keeptune COMMAND --help` says the same. What they end with: [Exit codes](index.md#exit-codes). What runs, scores and
compares models can be called from [programs](notebooks.md), too."""

API = f"""# Functions and classes

What `import keeptune as kt` offers, written by `{COMMAND}` from the docstrings.
[Notebooks](notebooks.md) shows how the first group is used, [Extending](extend.md) how to add methods, remedies,
formats and trackers."""

GROUPS = {
    "Studies": ("Study", "load_recipe", "train", "evaluate", "compare", "check", "Result", "exit_code"),
    "Verdicts": ("judge", "pair", "Suite", "ItemRecord", "compare_samples", "compare_models"),
    "Data": ("load_examples", "split", "drop_leaks", "Example", "Template", "TemplateSet", "Encoder"),
    "Recipes and records": ("StudyConfig", "run_study", "Summary", "KeeptuneError"),
}
METHODS = (FunctionType, classmethod, staticmethod, property)
WIDTH = 100  # characters of a signature that stands on one line
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):$", re.MULTILINE)
NAMED = re.compile(r"^ {4}(\w+): ", re.MULTILINE)


def commands_page() -> str:
    """The text of docs/commands.md."""
    root = typer.main.get_command(app)
    parts = (part for name, found in leaves(root, "keeptune") for part in command(name, found))
    return "\n\n".join([COMMANDS, *parts]) + "\n"


def leaves(found: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(full name, command) of every command that does something, in the order of the help."""
    if not hasattr(found, "commands"):
        yield name, found
        return
    for word, below in found.commands.items():
        yield from leaves(below, f"{name} {word}")


def command(name: str, found: Any) -> Iterator[str]:
    """Heading, help and parameters of one command."""
    yield f"## {name.partition(' ')[2]}"
    yield plain(inspect.cleandoc(found.help or ""))
    arguments = [value_of(each) for each in found.params if each.param_type_name == "argument"]
    words = " ".join([name, *arguments, "[OPTIONS]"])
    yield f"```text\n{words}\n```"
    yield table(["", "value", "default", ""], map(parameter, found.params))


def parameter(found: Any) -> list[str]:
    """One argument or option: names, kind of value, default, help."""
    names = " ".join(f"`{name}`" for name in (*found.opts, *found.secondary_opts))
    kind = "" if getattr(found, "is_flag", False) else f"`{value_of(found)}`"
    return [names, kind, default_of(found), plain(getattr(found, "help", None) or "")]


def value_of(found: Any) -> str:
    """What a parameter takes: its own word for it, its name, or its type."""
    if found.metavar or found.param_type_name == "argument":
        return found.metavar or found.name.upper()
    return found.display_type(typer.Context(typer.main.get_command(app))).strip("<>")


def default_of(found: Any) -> str:
    """The default as it would be typed; nothing for flags and for what may be left out."""
    if found.required:
        return "**required**"
    default = getattr(found.default, "value", found.default)
    return "" if default in (None, False, [], ()) or callable(default) else f"`{default}`"


def api_page() -> str:
    """The text of docs/api.md."""
    parts = [API]
    for group, names in GROUPS.items():
        parts += [f"## {group}", *(part for name in names for part in public(name))]
    return "\n\n".join(parts) + "\n"


def public(name: str) -> Iterator[str]:
    """One public name: heading, signature, docstring, and the methods of a class."""
    found = getattr(keeptune, name)
    if inspect.ismodule(found):  # a room that is called
        found = getattr(importlib.import_module(keeptune._CALLED[name]), name)
    yield f"### {name}"
    if inspect.isclass(found) and issubclass(found, BaseModel):
        yield from documented(found)
        yield "Every field: [Recipes](recipe.md)." if name == "StudyConfig" else fields(found)
        return
    yield signature(name, found)
    yield from documented(found)
    if inspect.isclass(found) and not issubclass(found, Exception):
        for each, member in vars(found).items():
            if not each.startswith("_") and isinstance(member, METHODS) and member.__doc__:
                yield from method(f"{name}.{each}", member)


def method(name: str, found: Any) -> Iterator[str]:
    """A method or property of a public class."""
    if isinstance(found, property):
        yield f"`{name}`"
    else:
        yield signature(name, getattr(found, "__func__", found))
    yield from documented(found)


def fields(found: type[BaseModel]) -> str:
    """The fields of a record."""
    return f"Fields: {', '.join(f'`{name}`' for name in found.model_fields)}."


def signature(name: str, found: Callable[..., Any]) -> str:
    """How it is called, one argument a line where they are many."""
    called = inspect.signature(found)
    known = [each for each in called.parameters.values() if each.name not in ("self", "cls")]
    inner = [written(each) for each in known]
    named = [number for number, each in enumerate(known) if each.kind is each.KEYWORD_ONLY]
    if named:
        inner.insert(named[0], "*")
    gives = "" if called.return_annotation in (called.empty, None, "None") else f" -> {called.return_annotation}"
    line = f"{name}({', '.join(inner)}){gives}"
    text = line if len(line) <= WIDTH else f"{name}(\n" + "".join(f"    {each},\n" for each in inner) + f"){gives}"
    return f"```py\n{text}\n```"


def written(found: inspect.Parameter) -> str:
    """A parameter as it stands in the code."""
    stars = {found.VAR_POSITIONAL: "*", found.VAR_KEYWORD: "**"}.get(found.kind, "")
    annotation = "" if found.annotation is found.empty else f": {found.annotation}"
    if found.default is found.empty:
        return f"{stars}{found.name}{annotation}"
    default = f"Path({str(found.default)!r})" if isinstance(found.default, Path) else repr(found.default)
    return f"{found.name}{annotation} = {default}"


def documented(found: Any) -> Iterator[str]:
    """A docstring as Markdown: paragraphs, lists of arguments and errors, the example."""
    text = inspect.getdoc(found) or ""
    first, *rest = SECTION.split(text)
    yield plain(first.strip())
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        inside, _, after = body.strip("\n").partition("\n\n")
        if title == "Example":
            yield f"```pycon\n{inspect.cleandoc(body)}\n```"
            continue
        entries = NAMED.split(inside)[1:]
        items = "\n".join(f"- `{name}`: {plain(' '.join(said.split()))}" for name, said in pairs(entries))
        yield f"{title}:\n\n{items}" if items else f"{title}: {plain(' '.join(inside.split()))}"
        if after:
            yield plain(after.strip())


def pairs(entries: list[str]) -> Iterable[tuple[str, str]]:
    """(name, text) of what stands alternately in a list."""
    return zip(entries[::2], entries[1::2], strict=True)


def plain(text: str) -> str:
    """A text of a docstring as Markdown: one backtick around code, and angle brackets elsewhere are no tags."""
    parts = re.split(r"(`[^`]+`)", text.replace("``", "`"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)


def pages() -> dict[Path, str]:
    """Path and text of both pages."""
    return {DOCS / "commands.md": commands_page(), DOCS / "api.md": api_page()}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
