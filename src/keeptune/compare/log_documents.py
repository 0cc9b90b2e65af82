"""Read the JSON logs of Inspect and the runs of InvarLock: one document holds a task; no torch, neither package.

Inspect (EvalLog version 2, inspect-ai 0.3): ``eval`` has ``task``, ``model`` and ``created``; every entry of
``samples`` has ``id``, ``epoch``, ``input``, ``choices``, ``target``, ``messages``, ``output`` and ``scores``, by
scorer. Epochs of a sample are averaged. InvarLock (contract evaluation-run-v1): every entry of ``records`` has ``id``,
``input``, ``expected``, ``output``, ``scores``, ``metadata``, ``context``, and may have ``likelihood``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from keeptune.compare.lm_eval import Measured, SampleLog, SampleRow
from keeptune.core.errors import DataError

INVARLOCK = "invarlock/evaluation-run-v1"
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # of Inspect: correct, partly, incorrect, no answer
BITS = "bits_per_byte"


@dataclass(frozen=True)
class Heading:
    """What a document says of itself."""

    path: Path
    task: str | None  # InvarLock names none
    model: str | None
    date: str


def heading(path: Path) -> Heading | None:
    """What a file is a log of; None where it is another JSON file.

    Raises:
        DataError: it is not JSON.
    """
    found = _document(path)
    if found.get("format") == INVARLOCK:
        return Heading(path, None, None, "")
    spec = found.get("eval")
    if not isinstance(spec, dict) or "task" not in spec or "status" not in found:
        return None
    return Heading(path, str(spec["task"]), spec.get("model"), str(spec.get("created", "")))


def read_log(path: Path, task: str) -> SampleLog:
    """Read a document.

    Raises:
        DataError: the run did not finish, a sample has no score, or one is there twice.
    """
    found = _document(path)
    inspect = found.get("format") != INVARLOCK
    if inspect and found.get("status") != "success":
        raise DataError(
            f"the evaluation ended with status '{found.get('status')}'", path=path, remedy="inspect eval-retry it"
        )
    entries = found.get("samples" if inspect else "records")
    if not isinstance(entries, list) or not entries:
        raise DataError("it holds no samples", path=path, remedy="write the log with its samples (--log-samples)")
    rows = tuple(_inspect_rows(path, entries) if inspect else _invarlock_rows(path, entries))
    rising = {name: True for row in rows for name, value in row.scores.items() if value.rises}
    return SampleLog(task, path, found["eval"].get("model") if inspect else None, rising, rows)


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not JSON: {error}", path=path, remedy="copy it again, or remove it") from error
    return found if isinstance(found, dict) else {}


def _inspect_rows(path: Path, samples: Sequence[Mapping[str, Any]]) -> Iterator[SampleRow]:
    """A row for every sample, in the order of the log; its epochs share it."""
    epochs: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        epochs.setdefault(str(sample["id"]), []).append(sample)
    for number, (name, of_one) in enumerate(epochs.items()):
        seen = [sample.get("epoch") for sample in of_one]
        if len(set(seen)) < len(seen):
            raise DataError(f"sample {name} is there twice", path=path, remedy="keep the samples of one run")
        first = of_one[0]
        scored = [dict(_inspect_scores(sample.get("scores") or {})) for sample in of_one]
        if not all(scored):
            raise DataError(f"sample {name} has no score", path=path, remedy="inspect score the log, or eval-retry it")
        target = first["target"] if isinstance(first["target"], list) else [first["target"]]
        asked = _asked(first)
        yield SampleRow(
            line=number + 1,
            doc_id=number,
            filter="none",
            doc_hash=_hash(name),
            prompt_hash=_hash([asked, first.get("choices")]),
            target_hash=_hash(target),
            target=str(target[0]) if target else "",
            doc=first.get("metadata") or {},
            prompt="\n\n".join(text for _, text in asked),
            prediction=(first.get("output") or {}).get("completion"),
            choices=len(first.get("choices") or ()),
            scores=_means(scored),
            other=(),
        )


def _inspect_scores(scores: Mapping[str, Any]) -> Iterator[tuple[str, Measured | None]]:
    """(metric, score): a scorer's name, and behind a dot the key where its value is a mapping; None: no number."""
    for scorer, score in scores.items():
        value = score.get("value") if isinstance(score, dict) else None
        named = {f"{scorer}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {scorer: value}
        for name, each in named.items():
            yield name, _number(each)


def _number(value: Any) -> Measured | None:
    if isinstance(value, str):
        return Measured(LETTERS[value], rises=True) if value in LETTERS else None
    if isinstance(value, bool):
        return Measured(float(value), rises=True)
    return Measured(float(value)) if isinstance(value, int | float) and math.isfinite(value) else None


def _means(epochs: Sequence[Mapping[str, Measured | None]]) -> dict[str, Measured]:
    """The mean of every metric that is a number in all epochs."""
    found = {}
    for metric in epochs[0]:
        known = [value for each in epochs if (value := each.get(metric)) is not None]
        if len(known) == len(epochs):
            mean = math.fsum(each.score for each in known) / len(known)
            found[metric] = Measured(mean, rises=all(each.rises for each in known))
    return found


def _asked(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of everything that stood before the first answer; long texts stand among the attachments."""
    messages = sample.get("messages") or []
    before = next((n for n, each in enumerate(messages) if each.get("role") == "assistant"), len(messages))
    given = messages[:before] or sample["input"]
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    kept = sample.get("attachments") or {}

    def text(content: Any) -> str:
        if not isinstance(content, str):
            return json.dumps(content, sort_keys=True, ensure_ascii=False)
        return str(kept.get(content.removeprefix("attachment://"), content))

    return [(str(each.get("role")), text(each.get("content"))) for each in given]


def _invarlock_rows(path: Path, records: Sequence[Mapping[str, Any]]) -> Iterator[SampleRow]:
    seen: set[str] = set()
    for number, record in enumerate(records):
        name = str(record["id"])
        if name in seen:
            raise DataError(f"record {name} is there twice", path=path, remedy="keep the records of one run")
        seen.add(name)
        scores = {metric: value for metric, each in record["scores"].items() if (value := _number(each)) is not None}
        facts = record.get("likelihood")
        if facts is not None:
            size = facts["utf8_byte_count"]
            scores[BITS] = Measured(-facts["logprob_sum"] / (size * math.log(2)), float(size))
        if record.get("error") is not None:
            raise DataError(f"record {name} failed: {record['error']}", path=path, remedy="run it again")
        yield SampleRow(
            line=number + 1,
            doc_id=number,
            filter="none",
            doc_hash=_hash(name),
            prompt_hash=_hash([record["input"], record["context"]]),
            target_hash=_hash(record["expected"]),
            target=_text(record["expected"]),
            doc=record["metadata"],
            prompt=_text(record["input"]),
            prediction=record["output"] if isinstance(record["output"], str) else None,
            choices=0,
            scores=scores,
            other=(),
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _hash(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8")).hexdigest()
