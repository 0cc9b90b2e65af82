"""`keeptune.evaluate`: one model on tasks, without training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from keeptune.api.data import Data, sources
from keeptune.api.results import Scores
from keeptune.core.config import validate
from keeptune.recipe.begun import begun_evaluation
from keeptune.recipe.files import named_entries
from keeptune.recipe.run_folder import run_folder
from keeptune.recipe.scoring import ScoringConfig


def evaluate(
    model: str | os.PathLike[str],
    task: Data | Sequence[Data],
    *,
    adapter: Path | str | None = None,
    shots: int | Sequence[int] = 0,
    draws: int = 3,
    part: str = "test",
    limit: int | None = None,
    template: str = "fixed",
    on_leak: str = "error",
    fields: Mapping[str, str] | None = None,
    precision: str = "auto",
    quantise: str = "none",
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    console: Console | None = None,
    command: str = "keeptune.evaluate",
) -> Scores:
    """Score a model on tasks and free texts, with intervals.

    Args:
        model: hub name, folder, or "builtin".
        task: data files, rows, text files, a task's YAML file, builtin:name; one or several.
        adapter: an adapter folder, as peft saves it.
        shots: numbers of demonstrations.
        draws: of the demonstrations; scores are averaged over them.
        part: "validation" or "test".
        limit: score at most so many items.
        template: "fixed", or "each" to average over all wordings.
        on_leak: "error", or "drop": see `keeptune.train`.
        fields: role -> column of data files.
        precision: "auto", "bf16" or "fp32".
        quantise: how the linear layers are stored: "none", "nf4" or "int8".
        out: item records and a manifest are written into this folder.
        overwrite: remove the run that is there, and begin anew.
        quiet: print nothing.
        console: where progress goes.
        command: as the manifest quotes it.

    Raises:
        KeeptuneError: anything foreseen.

    Example:
        >>> evaluate("builtin", "builtin:addition", shots=[0, 4]).to_frame()
    """
    numbers = (shots,) if isinstance(shots, int) else tuple(shots)
    values: dict[str, object] = {"model": os.fspath(model), "adapter": adapter, "tasks": sources(task, "rows")}
    values |= {"fields": dict(fields) if fields else None, "precision": precision, "quantise": quantise}
    values |= {"shots": numbers, "draws": draws, "part": part, "limit": limit, "template": template, "on_leak": on_leak}
    settings = validate(ScoringConfig, values, source="keeptune evaluate")
    entries = named_entries(settings.tasks, settings.on_leak, fields=settings.fields)
    console, folder = console or Console(quiet=quiet), None
    if out is not None:
        begun = begun_evaluation(settings, entries)
        folder = run_folder(begun, Path(out), Path(out), overwrite=overwrite, console=console)
    from keeptune.compare.scores import score_tasks  # imports torch: what is wrong with the request is said before

    return Scores(settings.model, tuple(score_tasks(settings, console, folder, command=command)))
