"""lm-eval's own objects for a task or a group of tasks."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, DataError, MissingExtra
from keeptune.evaluate.config import HARNESS

_HINT = "harness"


def load_leaves(name: str, root: Path = Path()) -> list[Any]:
    """The lm-eval task of a name or a YAML file, or all tasks of a group or tag.

    Raises:
        MissingExtra: lm-eval, or a package that the task needs, is not installed.
        ConfigError: no such task or file.
        DataError: the task's data cannot be loaded.
    """
    if name.endswith((".yaml", ".yml")):
        path = root / Path(name).expanduser()
        if not path.is_file():
            raise ConfigError("no such file", where=f"{HARNESS}{name}", remedy="name a task's YAML file, or its name")
        lines = path.read_text(encoding="utf-8").splitlines()
        group = next((line.partition(":")[2].strip(" \"'") for line in lines if line.startswith("group:")), None)
        manager, spec = (_manager(path.parent), group) if group else (_manager(defaults=False), str(path))
    else:
        manager, spec = _manager(), name
        if name not in manager.task_index:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "lm-eval ls tasks lists them"
            raise ConfigError(f"lm-eval has no task '{name}'", where=f"{HARNESS}{name}", remedy=hint)
    try:
        return list(manager.load(spec)["tasks"].values())
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), _HINT) from error
    except Exception as error:  # from connection errors to pyarrow's and the task's own
        text = str(error).strip()
        raise DataError(
            f"lm-eval cannot load the task: {text.splitlines()[0] if text else type(error).__name__}",
            path=f"{HARNESS}{name}",
            remedy="check the network and, for a gated data set, `hf auth login`; data_files are relative to where "
            "you run",
        ) from error


@lru_cache
def _manager(folder: Path | None = None, *, defaults: bool = True) -> Any:
    """lm-eval's index of tasks, and of those in a folder; reading all that it ships takes seconds."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtra("lm-eval", _HINT) from error
    return TaskManager(include_path=folder, include_defaults=defaults)
