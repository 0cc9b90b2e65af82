"""What a recipe names, without the settings of methods: those import torch, and what is missing is said before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ConfigDict

from keeptune.core.config import Config, read_recipe
from keeptune.recipe.entries import Retained, Targets
from keeptune.recipe.files import check_files


class Named(Config):
    """The part of `recipe.config.StudyConfig` that names a model and data; other keys are not looked at."""

    model_config = ConfigDict(extra="ignore")

    model: str
    """Hub name, local folder, or builtin."""
    target: Targets
    """Tasks to learn."""
    retain: Retained = ()
    """What must not get worse."""
    held_out: Targets = ()
    """Tasks that are not trained on."""


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
