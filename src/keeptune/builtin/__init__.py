"""The small base model and the tasks that ship inside the package. `recipes/builtin` in the repository makes them."""

from __future__ import annotations

import difflib
from pathlib import Path

from keeptune.core.errors import ConfigError

_ROOT = Path(__file__).parent


def model_path() -> Path:
    """The base model, a Hugging Face folder (config, safetensors in bf16, tokenizer)."""
    return _ROOT / "model"


def recipe_path(name: str = "demo") -> Path:
    """The recipe of the built-in study: 'demo', or 'demo-quick' with fewer rates and items."""
    return _ROOT / f"{name}.yaml"


def task_names() -> tuple[str, ...]:
    """Names that `task_path` knows, in alphabetical order."""
    return tuple(sorted(path.stem for path in (_ROOT / "tasks").glob("*.yaml")))


def task_path(name: str) -> Path:
    """The YAML file of a built-in task; its data stand beside it.

    Raises:
        ConfigError: there is no such task.
    """
    if name not in task_names():
        near = difflib.get_close_matches(name, task_names(), n=3) or task_names()
        raise ConfigError(f"no built-in task '{name}'", remedy=f"use one of {', '.join(near)}")
    return _ROOT / "tasks" / f"{name}.yaml"
