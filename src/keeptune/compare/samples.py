"""`compare --samples`: the verdict from logs of lm-eval, Inspect or InvarLock; no torch."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from keeptune import __version__
from keeptune.compare.lm_eval import SampleLog
from keeptune.compare.logs import read_log
from keeptune.compare.sample_pairs import join, match
from keeptune.compare.side_by_side import AFTER, BEFORE, Comparison, side_by_side
from keeptune.core.errors import ConfigError
from keeptune.core.files import sha256_of
from keeptune.core.records import Manifest
from keeptune.core.units import content_hash


def compare_samples(
    before: str,
    after: str,
    *,
    metrics: Sequence[str] = (),
    margin: float | None = None,
    margins: Mapping[str, float] | None = None,
    cluster: str | None = None,
    target: str | None = None,
    command: str = "",
) -> Comparison:
    """Judge what the second set of logs lost against the first.

    Args:
        before: a log of the base model, a folder of logs or a glob.
        after: the same of the tuned model.
        metrics: 'acc_norm', or 'exact_match,strict-match' with its filter; each task takes the first that it
            has. May be empty where a task has one metric and one filter.
        margin: fraction of the score that may be lost; by default 5 % of what the base has above chance (1 to 3
            points), or .01 (relative) for bits per byte.
        margins: task -> margin, where tasks differ.
        cluster: field of the documents that names the source which several items share.
        target: the task that was trained for; it is reported and not judged.
        command: as the manifest shall quote it.

    Raises:
        ConfigError: a metric must be chosen, or a named task is not there.
        DataError: a log that cannot be read, or logs of different items or prompts.
    """
    began = time.monotonic()
    settings = {"metrics": list(metrics), "margin": margin, "margins": dict(margins or {}), "cluster": cluster}
    logs = [(read_log(first, task), read_log(second, task)) for task, first, second in match(before, after)]
    _check_tasks([first.task for first, _ in logs], [*(margins or {}), *([target] if target else [])])
    tasks = tuple(
        join(a, b, metrics=metrics, margin=(margins or {}).get(a.task, margin), cluster=cluster) for a, b in logs
    )
    models = _names(*logs[0])
    manifest = _manifest(command, models[0], logs, {**settings, "target": target})
    return side_by_side(models, tasks, manifest, target=target, wall_seconds=time.monotonic() - began)


def _check_tasks(known: Sequence[str], named: Sequence[str]) -> None:
    for name in named:
        if name not in known:
            raise ConfigError(f"no log of task '{name}'", remedy=f"tasks with logs: {', '.join(known)}")


def _names(first: SampleLog, second: SampleLog) -> tuple[str, str]:
    """The two models: as the logs have them, or by the parts of the paths that differ."""
    if first.model and second.model and first.model != second.model:
        return first.model, second.model
    places = (first.path.resolve(), second.path.resolve())
    for names in ((p.parent.name for p in places), (p.stem for p in places)):
        a, b = names
        if a != b:
            return a, b
    return BEFORE, AFTER


def _manifest(
    command: str, model: str, logs: Sequence[tuple[SampleLog, SampleLog]], settings: dict[str, object]
) -> Manifest:
    hashes = {str(log.path): sha256_of(log.path) for both in logs for log in both}
    return Manifest(
        keeptune=__version__,
        command=command,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        platform=platform.platform(),
        device="none",
        precision="none",
        versions={name: version(name) for name in ("numpy", "scipy", "pydantic")},
        seeds=(),
        config=settings,
        config_hash=content_hash(settings),
        model=model,
        model_hash="",
        data_hashes=hashes,
    )
