"""What a recipe names, without the settings of methods: those import torch, and what is missing is said before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, field_validator

from keeptune.core.config import Config, read_recipe
from keeptune.evaluate.standard import expand
from keeptune.recipe.entries import Entry, TargetEntry
from keeptune.recipe.files import check_files


class Named(Config):
    """The part of `recipe.config.StudyConfig` that names a model and data; other keys are not looked at."""

    model_config = ConfigDict(extra="ignore")

    model: str
    """Hub name, local folder, or builtin."""
    target: tuple[TargetEntry, ...]
    """Tasks to learn."""
    retain: tuple[Entry, ...] = ()
    """What must not get worse."""
    held_out: tuple[TargetEntry, ...] = ()
    """Tasks that are not trained on."""

    @field_validator("target", "held_out", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("retain", mode="before")
    @classmethod
    def _sets(cls, value: Any) -> Any:
        return () if value in (None, "none") else expand(value)


def check_named(path: Path, overrides: Sequence[str] = (), data_root: Path | None = Path()) -> None:
    """Nothing, where a recipe is there and has what it must, and where the files are there that it names.

    Args:
        path: of the recipe.
        overrides: "section.field=value" each.
        data_root: relative data paths of the recipe are below it; None: its files are not looked for.

    Raises:
        KeeptuneError: something is missing, or an entry has an unknown key.
    """
    named = read_recipe(Named, path, overrides)
    if data_root is not None:
        check_files((*named.target, *named.retain, *named.held_out), data_root)
