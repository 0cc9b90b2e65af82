"""From the entries of a recipe to tasks, built and checked."""

from __future__ import annotations

from pathlib import Path

from keeptune.evaluate.config import HarnessConfig, TaskConfig
from keeptune.evaluate.harness import build_harness
from keeptune.evaluate.task import Judged, Task, build_task, build_text
from keeptune.recipe.entries import Entry, TaskFile
from keeptune.recipe.files import resolved


def build_entry(entry: Entry, data_root: Path = Path(), *, target: bool = False, judged: Judged | None = None) -> Task:
    """The task or text of one entry of a recipe; ``judged``: a retained one that nothing trains on."""
    config = resolved(entry, data_root)
    if isinstance(config, HarnessConfig):
        return build_harness(config, data_root, target=target)
    return build_task(config, judged) if isinstance(config, TaskConfig) else build_text(config, judged)


def drops_leaks(entry: Entry) -> bool:
    """Whether train rows that are asked elsewhere may be left out; otherwise they are refused."""
    config = entry.read() if isinstance(entry, TaskFile) else entry
    return isinstance(config, HarnessConfig) or config.split.on_leak == "drop"
