"""Logs of other evaluation tools on disk: which there are, of which task and model; no torch.

lm-eval's are files of lines (`lm_eval`); Inspect's and InvarLock's are one JSON document each (`log_documents`).
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from keeptune.compare import lm_eval, log_documents
from keeptune.compare.lm_eval import SampleLog
from keeptune.core.errors import DataError


def find_logs(source: str) -> dict[str, Path]:
    """Task name -> newest log, from a file, a folder (searched deeply) or a glob pattern.

    Raises:
        DataError: nothing there, logs of several models, or a log that has to be converted first.
    """
    place = Path(source)
    if place.is_dir():
        paths = [*place.rglob("samples_*.jsonl"), *place.rglob("*.json"), *place.rglob("*.eval")]
    elif place.is_file():
        paths = [place]
    else:
        paths = [Path(name) for name in glob.glob(source, recursive=True)]
    lines = sorted(path for path in paths if path.suffix == ".jsonl")
    documents = sorted(p for p in paths if p.suffix == ".json" and not p.name.startswith("results_"))  # of lm-eval
    found = [heading for path in documents if (heading := log_documents.heading(path))]
    packed = sorted(path for path in paths if path.suffix == ".eval")
    if not (lines or found):
        _refuse(source, packed)
    newest = lm_eval.newest(source, lines) if lines else {}
    _one_model(source, [each.model for each in found if each.model is not None])
    for each in sorted(found, key=lambda each: each.date):
        newest[each.task or each.path.stem] = each.path
    return newest


def stated_task(path: Path) -> str | None:
    """The task that a log is of, where its name or its content says so."""
    if path.suffix == ".json":
        found = log_documents.heading(path)
        return found.task if found else None
    task, date = lm_eval.task_and_date(path)
    return task if date else None


def read_log(path: Path, task: str) -> SampleLog:
    """Read a log of any kind.

    Raises:
        DataError: it cannot be read, or holds something twice.
    """
    return log_documents.read_log(path, task) if path.suffix == ".json" else lm_eval.read_log(path, task)


def _refuse(source: str, packed: Sequence[Path]) -> None:
    if packed:
        raise DataError(
            "Inspect's .eval files are not read",
            path=packed[0],
            remedy="inspect log convert LOG.eval --to json --output-dir FOLDER, and name that folder",
        )
    raise DataError(
        "no log here",
        path=source,
        remedy="name a log, its folder or a glob: samples_<task>_<date>.jsonl that lm-eval writes under --log_samples,"
        " a JSON log of Inspect (--log-format json) or a run of InvarLock",
    )


def _one_model(source: str, models: Sequence[str]) -> None:
    """Refuse logs of several models on one side.

    Raises:
        DataError: with the models.
    """
    named = sorted(set(models))
    if len(named) > 1:
        raise lm_eval.several_models(source, named)
