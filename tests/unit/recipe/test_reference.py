"""The reference of recipes: every field is described, and the schema takes what the models take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from keeptune.core.config import Config
from keeptune.evaluate.standard import STANDARD, SetName
from keeptune.methods.base import METHODS
from keeptune.recipe.config import key_of
from keeptune.recipe.reference import ROOT, recipe_schema, sections
from keeptune.recipe.scoring import ScoringConfig
from keeptune.train.remedies.base import REMEDIES

REPOSITORY = Path(__file__).parents[3]
RECIPES = [*(REPOSITORY / "recipes").glob("*.yaml"), *(REPOSITORY / "recipes" / "laws").glob("*.yaml")]


class Parent(Config):
    rates: tuple[float, ...] = (1.0,)
    """Rates to try."""


class Child(Parent):
    rates: tuple[float, ...] = (2.0,)


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, node in (("recipe", schema), *schema.get("$defs", {}).items()):
        for key, value in node.get("properties", {}).items():
            yield f"{name}.{key}", value


@pytest.mark.parametrize("schema", [recipe_schema(), ScoringConfig.model_json_schema()], ids=["study", "evaluate"])
def test_every_field_is_described(schema: dict[str, Any]) -> None:
    definitions = schema.get("$defs", {})
    bare = []
    for place, value in fields(schema):
        said = value.get("description") or definitions.get(value.get("$ref", "").rpartition("/")[2], {}).get(
            "description"
        )
        if not said or not said.endswith((".", "?")) or "\n" in said:
            bare.append(place)
    assert bare == []


def test_a_field_keeps_its_description_where_only_the_default_changes() -> None:
    assert Child.model_json_schema()["properties"]["rates"]["description"] == "Rates to try."
    assert Child().rates == (2.0,)


def test_methods_and_remedies_are_sections_with_settings_of_their_own() -> None:
    titles = {section.title: {field.key for field in section.fields} for section in sections()}
    assert {key_of(name) for name in METHODS} | {f"remedies.{key_of(name)}" for name in REMEDIES} <= titles.keys()
    assert "ratio" in titles["loraplus"]
    assert titles["remedies.kl"] == {"weight"}


def test_sections_that_a_field_leads_to_are_there() -> None:
    found = sections()
    titles = {section.title for section in found}
    assert len(titles) == len(found)
    assert {field.section for section in found for field in section.fields} - {None} <= titles
    assert next(field for field in found[0].fields if field.key == "model").required
    assert found[0].title == ROOT


def test_types_are_said_in_words() -> None:
    rows = {f"{section.title}.{field.key}": field for section in sections() for field in section.fields}
    assert rows["recipe.workers"].type == "integer, at least 1 or auto"
    assert rows["recipe.target"].type == "task file, task, task of lm-eval or list of these"
    assert rows["recipe.precision"].type == "auto, bf16 or fp32"
    assert rows["train.warmup"].default == "0.06"
    assert rows["task.split"].section == "split"


def test_names_of_sets_are_those_that_exist() -> None:
    assert set(get_args(SetName)) == {*STANDARD, "none"}


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    return jsonschema.Draft202012Validator(recipe_schema())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_schema_takes_the_recipes_of_the_repository(path: Path, validator: Any) -> None:
    text = path.read_text(encoding="utf-8")
    validator.validate(json.loads(json.dumps(yaml.safe_load(text))))
    schema = text.partition("\n")[0].partition("$schema=")[2]
    assert (path.parent / schema).resolve() == REPOSITORY / "docs" / "recipe.schema.json"


@pytest.mark.parametrize(
    "changes",
    [
        {"retain": "none"},
        {"retain": ["standard", {"task": "harness:piqa"}, {"task": "builtin:prose"}, {"text": "a.txt"}]},
        {"target": {"data": "rows.jsonl", "templates": "a ||| b", "margin": 2}},
        {"remedies": {"replay": {"share": "5%"}, "freeze": {"share": 0.5}}},
        {"workers": 2},
        {"budget": "4h"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_schema_takes_what_recipes_may_say(changes: dict[str, Any], validator: Any) -> None:
    validator.validate({"model": "builtin", "target": {"task": "builtin:orders"}, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"lorra": {}},
        {"retain": "nothing"},
        {"lora": {"rnak": 4}},
        {"remedies": {"kl": {"wait": 1}}},
        {"workers": "many"},
        {"target": {"metric": "rougeL"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_schema_refuses_what_recipes_may_not_say(changes: dict[str, Any], validator: Any) -> None:
    assert not validator.is_valid({"model": "builtin", "target": {"task": "builtin:orders"}, **changes})
