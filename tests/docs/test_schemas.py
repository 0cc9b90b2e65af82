"""The published schemas are those of the records, and every command has one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import typer

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))
import make_schemas  # noqa: E402
from keeptune.cli.main import app  # noqa: E402


def commands(group: Any, name: str = "") -> Iterator[str]:
    for key, each in group.commands.items():
        inner = getattr(each, "commands", None)
        if inner is None or each.invoke_without_command:
            yield f"{name}{key}"
        if inner is not None:
            yield from commands(each, f"{name}{key} ")


def test_they_are_current_and_schemas() -> None:
    files = make_schemas.files()
    assert {file.name for file in make_schemas.FOLDER.iterdir()} == set(files)
    for name, text in files.items():
        assert (make_schemas.FOLDER / name).read_text(encoding="utf-8") == text, f"run docs/make_schemas.py: {name}"
    for kind in make_schemas.DOCUMENTS.values():
        jsonschema.Draft202012Validator.check_schema(make_schemas.document_schema(kind, "any"))


def test_every_command_has_one_and_the_page_says_which() -> None:
    assert set(make_schemas.COMMANDS) == set(commands(typer.main.get_command(app)))
    assert set(make_schemas.COMMANDS.values()) | {"run"} == set(make_schemas.DOCUMENTS)
    assert (DOCS / "json.md").read_text(encoding="utf-8").endswith(make_schemas.table())
