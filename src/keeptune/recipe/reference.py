"""The reference of recipes, taken from their models: a JSON schema for editors, and rows for people.

Both know every method, remedy and tracker that is registered, those of other packages included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from keeptune.recipe.config import StudyConfig

Node = dict[str, Any]  # of a JSON schema

ROOT = "recipe"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE = "recipe.schema.json"
EDITORS = "# yaml-language-server: $schema={}"  # first line of a recipe: editors complete and check what follows


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field of a section, in words."""

    key: str
    type: str  # 'integer, at least 1', 'list of string', or the title of a section: 'train'
    default: str  # as a recipe would say it; '' where there is none to show
    required: bool
    description: str
    section: str | None  # whose fields can be given below this one


@dataclass(frozen=True, slots=True)
class Section:
    """The fields of one mapping of a recipe."""

    title: str  # its place: 'recipe', 'train', 'remedies.kl'; of entries what they are: 'task'
    description: str
    fields: tuple[FieldRow, ...]


ENTRIES = {  # classes that stand at several places, by what they are
    "TaskConfig": "task",
    "TaskFile": "task file",
    "TextConfig": "text",
    "HarnessConfig": "task of lm-eval",
    "SplitConfig": "split",
    "TextSplitConfig": "split of a text",
}


def recipe_schema() -> Node:
    """The JSON schema of a study's recipe; of descriptions only the first paragraph."""
    schema = StudyConfig.model_json_schema()
    fields = schema["properties"]
    schema["properties"] = {key: fields.pop(key) for key in StudyConfig.__annotations__} | fields  # methods come last
    for node in (schema, *schema["$defs"].values()):
        node["description"] = " ".join(node["description"].partition("\n\n")[0].split())
    return {"$schema": DRAFT, **schema, "title": "keeptune recipe"}


def sections() -> tuple[Section, ...]:
    """All sections: the recipe itself, then what it holds, each after the first that names it."""
    schema = recipe_schema()
    titles = dict(_titles(schema, schema["$defs"], "")) | ENTRIES
    found = [_section(ROOT, schema, schema["$defs"], titles)]
    found += [_section(title, schema["$defs"][ref], schema["$defs"], titles) for ref, title in titles.items()]
    return tuple(found)


def _titles(node: Node, definitions: Mapping[str, Node], place: str) -> Iterator[tuple[str, str]]:
    """(name of a definition, its place in a recipe), in the order of the fields."""
    for key, value in node["properties"].items():
        for ref in _refs(value):
            if ref not in ENTRIES:
                yield ref, f"{place}{key}"
                yield from _titles(definitions[ref], definitions, f"{place}{key}.")


def _refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        for key, value in node.items():
            if key != "default":
                yield from _refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _refs(value)


def _section(title: str, node: Node, definitions: Mapping[str, Node], titles: Mapping[str, str]) -> Section:
    required = node.get("required", ())
    rows = []
    for key, value in node.get("properties", {}).items():
        refs = list(dict.fromkeys(_refs(value)))
        whole = refs[0] if len(refs) == 1 else None
        rows.append(
            FieldRow(
                key=key,
                type=titles[whole] if whole else _words(value, titles),
                default="" if whole or key in required else _written(value.get("default")),
                required=key in required,
                description=value.get("description") or definitions[refs[0]]["description"],
                section=titles[whole] if whole else None,
            )
        )
    return Section(title, node["description"], tuple(rows))


def _words(node: Node, titles: Mapping[str, str]) -> str:
    """A type in words: 'integer, at least 1, or auto'."""
    *first, last = _kinds(node, titles)
    return f"{', '.join(first)} or {last}" if first else last


def _kinds(node: Node, titles: Mapping[str, str]) -> list[str]:
    """The types that a value may have, each in words; null is not said."""
    if "$ref" in node:
        return [titles[node["$ref"].rpartition("/")[2]]]
    if "anyOf" in node or "oneOf" in node:
        kinds: list[str] = []
        for each in node.get("anyOf") or node["oneOf"]:
            if each.get("type") == "array" and kinds == _kinds(each["items"], titles) and len(kinds) > 1:
                kinds.append("list of these")
            elif each.get("type") != "null":
                kinds += _kinds(each, titles)
        return list(dict.fromkeys(kinds))
    if "const" in node or "enum" in node:
        return [str(value) for value in node.get("enum", [node.get("const")])]
    if node.get("type") == "array":
        items = _words(node["items"], titles)
        return [f"list of ({items})" if " or " in items else f"list of {items}"]
    if node.get("type") == "object":
        of = node.get("additionalProperties")
        return [f"mapping of names to {_words(of, titles)}" if isinstance(of, dict) else "mapping"]
    limits = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    bounds = [f"{words} {node[key]:g}" for key, words in limits.items() if key in node]
    return [", ".join([str(node.get("type", "any")), *bounds])]


def _written(value: Any) -> str:
    """A default as a recipe would say it, in one line; '' for none and for what is empty."""
    if value is None or value == "" or value in ([], {}):
        return ""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
