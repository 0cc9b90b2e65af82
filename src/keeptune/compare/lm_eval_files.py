"""Write scores as the result and sample files of lm-evaluation-harness (0.4.13), for tools that read those; no torch.

`compare.lm_eval` reads them back: what is written twice of one model is Retained. Of a choice the log has the text that
was chosen and not the likelihoods of the others, so a reader cannot know how many there were.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptune.core.files import write_whole
from keeptune.core.records import ItemRecord, Score

BITS = "bits_per_byte"


@dataclass(frozen=True)
class Scored:
    """One task under one number of shots."""

    task: str
    shots: int
    score: Score
    items: Sequence[ItemRecord]


def write_lm_eval(folder: Path, model: str, started: str, scored: Sequence[Scored]) -> Path:
    """Write ``results_<date>.json`` and ``samples_<task>_<date>.jsonl`` for every task.

    Args:
        folder: made where it is not there.
        model: its name.
        started: ISO 8601, UTC.
        scored: tasks; one that was asked with several numbers of shots becomes several, ``<task>_4shot``.

    Returns:
        The results file.
    """
    date = started.partition("+")[0].replace(":", "-")
    often = [each.task for each in scored]
    named = {(each.task if often.count(each.task) == 1 else f"{each.task}_{each.shots}shot"): each for each in scored}
    for name, each in named.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in _samples(each))
        write_whole(folder / f"samples_{name}_{date}.jsonl", "".join(lines))
    path = folder / f"results_{date}.json"
    write_whole(path, json.dumps(_results(model, named), indent=2, ensure_ascii=False) + "\n")
    return path


def _results(model: str, named: Mapping[str, Scored]) -> dict[str, Any]:
    scores = {name: each.score for name, each in named.items()}
    return {
        "results": {
            name: {
                "alias": name,
                f"{score.metric},none": score.mean,
                f"{score.metric}_stderr,none": (score.interval.high - score.interval.low) / (2 * 1.959964),
            }
            for name, score in scores.items()
        },
        "group_subtasks": {name: [] for name in named},
        "configs": {name: {"task": name, "num_fewshot": each.shots} for name, each in named.items()},
        "versions": dict.fromkeys(named, 0),
        "n-shot": {name: each.shots for name, each in named.items()},
        "higher_is_better": {name: {score.metric: score.higher_is_better} for name, score in scores.items()},
        "n-samples": {name: {"original": score.n, "effective": score.n} for name, score in scores.items()},
        "config": {"model": "keeptune", "model_args": model},
        "model_source": "keeptune",
        "model_name": model,
        "model_name_sanitized": model.replace("/", "__"),
    }


def _samples(scored: Scored) -> Iterable[dict[str, Any]]:
    """A line for every item, in the order of their ids: two models that were asked the same have the same lines."""
    metric = scored.score.metric
    for number, item in enumerate(sorted(scored.items, key=lambda item: item.id)):
        document = {"id": item.id, "cluster": item.cluster, "label": item.label}
        target = item.references[0] if item.references else item.label or ""
        yield {
            "doc_id": number,
            "doc": document,
            "target": target,
            "arguments": {"gen_args_0": {"arg_0": item.prompt or ""}},
            "resps": [[item.prediction]],
            "filtered_resps": [item.prediction],
            "filter": "none",
            "metrics": [metric],
            "doc_hash": _hash(json.dumps(document, sort_keys=True, ensure_ascii=False)),
            "prompt_hash": _hash(item.prompt or ""),
            "target_hash": _hash(target),
            metric: _measured(metric, item),
        }


def _measured(metric: str, item: ItemRecord) -> float | list[float]:
    """As lm-eval has it: bits per byte are a pair, log-likelihood in nats and bytes."""
    return [-item.score * item.weight * math.log(2), item.weight] if metric == BITS else item.score


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
