"""Recipes: unknown keys, bad values and overrides are reported where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeptune.core.config import Config, parse_recipe, read_recipe
from keeptune.core.errors import ConfigError


class Inner(Config):
    rank: int = 16
    alpha: float = 32.0


class Outer(Config):
    model: str
    lora: Inner = Inner()
    entries: tuple[Inner, ...] = ()


def test_defaults_and_nesting() -> None:
    recipe = parse_recipe(Outer, "model: m\nlora:\n  rank: 4\n")
    assert (recipe.model, recipe.lora.rank, recipe.lora.alpha) == ("m", 4, 32.0)


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("model: m\nlorra: {}\n", 2, "did you mean 'lora'"),
        ("model: m\nlora:\n  rank: 4\n  alfa: 2\n", 4, "did you mean 'alpha'"),
        ("model: m\nentries:\n  - rank: 3\n  - rnak: 3\n", 4, "did you mean 'rank'"),
    ],
)
def test_unknown_key_names_line_and_nearest(text: str, line: int, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint) as caught:
        parse_recipe(Outer, text, source="r.yaml")
    assert f"r.yaml:{line}:" in str(caught.value)
    assert caught.value.exit_code == 2


def test_bad_value_names_field_and_line() -> None:
    with pytest.raises(ConfigError, match=r"r\.yaml:3: lora\.rank='many'"):
        parse_recipe(Outer, "model: m\nlora:\n  rank: many\n", source="r.yaml")


def test_missing_key() -> None:
    with pytest.raises(ConfigError, match="'model' is missing"):
        parse_recipe(Outer, "lora: {}\n")


@pytest.mark.parametrize("text", ["model: [1\n", "- a\n- b\n", "model: m\n\tlora: 1\n"])
def test_not_a_mapping(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_recipe(Outer, text)


def test_overrides() -> None:
    recipe = parse_recipe(Outer, "model: m\nentries: [{rank: 1}]\n", overrides=["lora.rank=8", "entries.0.rank=2"])
    assert (recipe.lora.rank, recipe.entries[0].rank) == (8, 2)
    with pytest.raises(ConfigError, match="--set"):
        parse_recipe(Outer, "model: m\n", overrides=["lora.rank"])
    with pytest.raises(ConfigError, match="did you mean 'rank'"):
        parse_recipe(Outer, "model: m\n", overrides=["lora.rnk=8"])


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("model: m\n")
    with pytest.raises(ConfigError, match=r"study\.yaml"):
        read_recipe(Outer, tmp_path / "sudy.yaml")


def test_digest_follows_values() -> None:
    assert parse_recipe(Outer, "model: m").digest() == parse_recipe(Outer, "model: m\nlora: {rank: 16}").digest()
    assert parse_recipe(Outer, "model: m").digest() != parse_recipe(Outer, "model: n").digest()
