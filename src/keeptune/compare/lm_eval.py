"""Read the per-sample logs that lm-evaluation-harness writes under --log_samples; no torch, no lm-eval.

A log is `samples_<task>_<date>.jsonl`, one line per document and filter. Read here: `doc_id`, `doc`, `target`,
`filter`, `metrics` (names, each also a field with this item's value), `arguments`, `resps`, and the hashes
`doc_hash`, `prompt_hash`, `target_hash` (lm-eval 0.4.13, evaluator.py and result_schema.py; before 0.4.7 there is no
`metrics` and no `filter`, and every other field is a metric). Beside it, `results_<date>.json` names the model and says
whether higher is better.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptune.core.errors import DataError

_NAME = re.compile(r"^samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d.\-]+)$")
_PAIRS = ("bits_per_byte",)  # (log-likelihood in nats, bytes); other pairs are corpus statistics
_HASHES = ("doc_hash", "prompt_hash", "target_hash")
_NO_METRICS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", *_HASHES}


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric on one item: the score, and its weight in the mean (bytes, for bits per byte)."""

    score: float
    weight: float = 1.0
    rises: bool = False  # the value itself says that more is better: right or wrong


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One line of a log."""

    line: int
    doc_id: int
    filter: str
    doc_hash: str
    prompt_hash: str
    target_hash: str
    target: str
    doc: Mapping[str, Any]
    prompt: str | None
    prediction: str | None  # generated text after the filter; None for log-likelihood requests
    choices: int  # answers that were scored; 0 for generation and for single log-likelihoods
    scores: Mapping[str, Measured]  # the metrics that are numbers per item
    other: tuple[str, ...]  # the metrics that are not


@dataclass(frozen=True)
class SampleLog:
    """One task answered by one model."""

    task: str
    path: Path
    model: str | None
    higher_is_better: Mapping[str, bool]
    rows: tuple[SampleRow, ...]


def newest(source: str, paths: Sequence[Path]) -> dict[str, Path]:
    """Task name -> the newest of these logs of it.

    Raises:
        DataError: they are of several models.
    """
    found: dict[str, tuple[str, Path]] = {}
    for path in paths:
        task, date = task_and_date(path)
        if task not in found or date > found[task][0]:
            found[task] = (date, path)
    _one_model(source, paths)
    return {task: path for task, (_, path) in found.items()}


def _one_model(source: str, paths: Sequence[Path]) -> None:
    """Refuse logs of several models on one side: lm-eval gives each a folder of its own, and names it in the results.

    Raises:
        DataError: with the folders, or the models.
    """
    runs = {(path.parent, task_and_date(path)[1]): path for path in paths}  # the tasks of one run share its results
    models = [_results_beside(path).get("model_name") for path in runs.values()]
    named = sorted({str(model) for model in models if model is not None})
    folders = sorted({path.parent for path in paths})
    unnamed = len(folders) > 1 and (None in models or not named)
    if len(named) > 1 or unnamed:
        raise several_models(source, named if len(named) > 1 else [str(folder) for folder in folders])


def several_models(source: str, names: Sequence[str]) -> DataError:
    """The error for logs of several models on one side, by their names or folders."""
    return DataError(
        f"logs of {len(names)} models on one side: {', '.join(names[:4])}",
        path=source,
        remedy="name the folder of one of them",
    )


def task_and_date(path: Path) -> tuple[str, str]:
    """('hellaswag', '2026-11-23T10-00-00.123456') from a log's name; other names are tasks without a date."""
    match = _NAME.match(path.stem)
    return (match["task"], match["date"]) if match else (path.stem, "")


def read_log(path: Path, task: str) -> SampleLog:
    """Read a log.

    Raises:
        DataError: a line that is not a sample, or the same document twice under one filter and id.
    """
    rows: list[SampleRow] = []
    seen: dict[tuple[int, str], int] = {}
    for line, fields in _json_lines(path):
        row = _row(path, line, fields)
        first = seen.setdefault((row.doc_id, row.filter), line)
        if first != line:
            raise DataError(
                f"document {row.doc_id} was already answered on line {first}",
                path=path,
                line=line,
                remedy="the file holds two runs; keep the lines of one",
            )
        rows.append(row)
    if not rows:
        raise DataError("the log is empty", path=path, remedy="run lm-eval with --log_samples again")
    results = _results_beside(path)
    return SampleLog(
        task=task,
        path=path,
        model=results.get("model_name"),
        higher_is_better=results.get("higher_is_better", {}).get(task, {}),
        rows=tuple(rows),
    )


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                fields = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"not JSON: {error.msg}", path=path, line=line, remedy="the file was cut short; copy it again"
                ) from error
            if not isinstance(fields, dict):
                raise DataError("not a JSON object", path=path, line=line, remedy="name an lm-eval sample log")
            yield line, fields


def _row(path: Path, line: int, fields: dict[str, Any]) -> SampleRow:
    for name in ("doc_id", *_HASHES):
        if name not in fields:
            raise DataError(
                "missing, so two logs cannot be joined",
                path=path,
                line=line,
                field=name,
                remedy="write the log with lm-eval 0.4.3 or newer under --log_samples; older ones have no hashes",
            )
    listed = fields["metrics"] if "metrics" in fields else fields.keys() - _NO_METRICS  # listed from 0.4.7 on
    names = [name for name in sorted(listed) if name in fields]
    scores = {name: value for name in names if (value := _measured(name, fields[name])) is not None}
    filtered = fields.get("filtered_resps") or [None]
    return SampleRow(
        line=line,
        doc_id=int(fields["doc_id"]),
        filter=str(fields.get("filter", "none")),
        doc_hash=str(fields["doc_hash"]),
        prompt_hash=str(fields["prompt_hash"]),
        target_hash=str(fields["target_hash"]),
        target=str(fields.get("target", "")),
        doc=fields["doc"] if isinstance(fields.get("doc"), dict) else {},
        prompt=_prompt(fields.get("arguments")),
        prediction=filtered[0] if isinstance(filtered[0], str) else None,
        choices=_choices(fields),
        scores=scores,
        other=tuple(name for name in names if name not in scores),
    )


def _measured(name: str, value: Any) -> Measured | None:
    """The value as a score of one item; None for corpus statistics (pairs, lists) and for what is not finite."""
    if name in _PAIRS and isinstance(value, list) and len(value) == 2:
        nats, size = value
        return Measured(-nats / (size * math.log(2)), float(size)) if size > 0 else None
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return Measured(float(value))
    return None


def _prompt(arguments: Any) -> str | None:
    """`arguments` is {"gen_args_0": {"arg_0": prompt, ...}, ...}."""
    first = arguments.get("gen_args_0") if isinstance(arguments, dict) else None
    text = first.get("arg_0") if isinstance(first, dict) else None
    return text if isinstance(text, str) else None


def _choices(fields: dict[str, Any]) -> int:
    """Requests of a multiple-choice document: each response is one [log-likelihood, is greedy] pair."""
    responses = fields.get("resps") or []
    scored = [r for r in responses if isinstance(r, list) and r and isinstance(r[0], list) and len(r[0]) == 2]
    if len(scored) < 2 or len(scored) != len(responses):
        return 0
    return len(scored) // 2 if "acc_mutual_info" in fields else len(scored)


def _results_beside(path: Path) -> dict[str, Any]:
    """The aggregated results of the same run if they lie beside the log, otherwise an empty mapping."""
    _, date = task_and_date(path)
    results = path.with_name(f"results_{date}.json")
    if not date or not results.is_file():
        return {}
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg}", path=results, remedy="copy it again, or remove it") from error
    return content if isinstance(content, dict) else {}
