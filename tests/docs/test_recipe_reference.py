"""The reference of recipes and its schema are what the models say."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

import make_recipe
from keeptune.cli.main import app
from keeptune.recipe.reference import SCHEMA_FILE, sections

DOCS = Path(__file__).parents[2] / "docs"


def test_page_and_schema_are_written_from_the_models() -> None:
    assert (DOCS / "recipe.md").read_text(encoding="utf-8") == make_recipe.page(), make_recipe.COMMAND
    assert (DOCS / SCHEMA_FILE).read_text(encoding="utf-8") == make_recipe.schema(), make_recipe.COMMAND


def test_examples_are_of_sections_that_exist() -> None:
    assert make_recipe.EXAMPLES.keys() <= {section.title for section in sections()}


def test_the_command_prints_schema_and_sections() -> None:
    run = CliRunner().invoke
    assert json.loads(run(app, ["recipe", "--schema"]).output) == json.loads(make_recipe.schema())
    section = run(app, ["recipe", "remedies.kl"])
    assert "weight" in section.output and "above 0; default 1.0" in section.output
    assert "see keeptune recipe train" in run(app, ["recipe"]).output
    assert run(app, ["recipe", "lorra"]).exception.remedy == "name lora or rslora"
