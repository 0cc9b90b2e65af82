"""A recipe for a data file: what the file is, and a commented draft of the study to make of it. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from keeptune.data.examples import Example, Rendered
from keeptune.evaluate.config import SplitConfig, TaskConfig
from keeptune.evaluate.task import Task, build_task

LOOKED_AT = 500  # rows that say what kind of task it is
ENOUGH_ITEMS = 1000  # test items that settle a margin of a few points; more only take time
MANY_ROWS = 10_000  # from here one pass over the rows is enough to begin with
NO_TRAIN = "No part of the rows is called train"
FEW_ROWS = 50  # of a test part; with fewer nothing can be told
BUILTIN_SUITES = ("addition", "agreement", "opposites", "prose")  # skills that the built-in model has


@dataclass(frozen=True, slots=True)
class Look:
    """What a data file is."""

    rows: Mapping[str, int]  # part -> examples
    kind: str  # 'choices', 'json', 'short answers' or 'texts'
    answers: str  # in words: 'one of 4 answers: yes, no, ...'
    metric: str
    prompt_words: tuple[int, int]  # median, 95th percentile
    completion_words: tuple[int, int]
    leaking: int  # train rows that are copies of held-out ones
    unusable: int  # rows set aside
    layout: str  # the name of the format that was recognised


@dataclass(frozen=True, slots=True)
class Answers:
    """What the data cannot say."""

    model: str = "builtin"
    retain: tuple[Any, ...] | None = None  # entries of a recipe; (): nothing matters; None: not decided yet
    budget: str | None = None  # "1h"


@dataclass(frozen=True, slots=True)
class Drafted:
    """A recipe that was written."""

    recipe: Path
    schema: Path  # for editors
    data: Look


def look(source: str, fields: Mapping[str, str] | None = None) -> Look:
    """Read a source as a study would, and say what kind of task it is.

    Raises:
        KeeptuneError: it cannot be read or recognised, or has too few rows to divide.
    """
    config = TaskConfig(data=source, fields=dict(fields) if fields else None, split=SplitConfig(on_leak="drop"))
    task = build_task(config)
    sample = _sample(task)
    kind, answers = _kind(sample, task)
    assert task.loaded is not None  # only free text and tasks of lm-eval have none
    return Look(
        rows={part: len(task.splits.part(part)) for part in ("train", "validation", "test")},
        kind=kind,
        answers=answers,
        metric="json_f1" if kind == "json" else task.metric.name,
        prompt_words=_lengths([row.prompt for row in sample]),
        completion_words=_lengths([row.completion for row in sample]),
        leaking=len(task.leaks.copies) if task.leaks else 0,
        unusable=len(task.loaded.quarantined),
        layout=task.loaded.layout.name if task.loaded.layout else "",
    )


def draft(source: str, found: Look, answers: Answers, path: Path, fields: Mapping[str, str] | None = None) -> str:
    """The text of a recipe that is to stand at ``path``, with comments that say why."""
    target: dict[str, Any] = {"data": source, "metric": found.metric}
    if fields:
        target["fields"] = dict(fields)
    if found.leaking:
        target["split"] = {"on_leak": "drop"}
    builtin = answers.model == "builtin"
    lines = [
        f"# {Path(source).name}: {_counted(found)}, {found.answers}.",
        f"# Prompts have {_words(found.prompt_words)}, answers {_words(found.completion_words)}.",
        *_remarks(found),
        f"# Every field: keeptune recipe, or docs/recipe.md. Run it: keeptune study {path}",
        f"title: {_yaml(Path(source).stem)}",
        *(["# A small model that comes with keeptune, to try things out; name your own here."] if builtin else []),
        f"model: {_yaml(answers.model)}",
        f"# {_METRIC_REASONS[found.kind]}",
        f"target: {_yaml(target)}",
        "",
        "# What must not get worse: data files, free texts, tasks of lm-eval (standard is a set of them), or none.",
        *_retained(answers),
        "",
        *_arms(found, answers),
    ]
    if found.rows["test"] > ENOUGH_ITEMS:
        lines.append(f"test_items: {ENOUGH_ITEMS}  # of {found.rows['test']:,}; more settle smaller differences")
    if answers.budget is not None:
        lines.append(f"budget: {answers.budget}  # trainings are dropped in a stated order to keep to it")
    return "\n".join(lines) + "\n"


def builtin_suites() -> tuple[dict[str, str], ...]:
    """What the built-in model can do, and should not forget."""
    return tuple({"task": f"builtin:{name}"} for name in BUILTIN_SUITES)


_METRIC_REASONS = {
    "choices": "Few different answers: the model chooses among them.",
    "json": "Answers are JSON: fields are compared, whatever their order.",
    "short answers": "Answers are short: the text has to be the right one.",
    "texts": "Answers are texts: ROUGE-L counts what they share with the reference; docs/metrics.md lists others.",
}


def _sample(task: Task) -> list[Rendered]:
    rows: Sequence[Example] = task.splits.train or task.splits.test
    wordings = task.wordings(chat=False)
    return [wordings.fixed(row) for row in rows[:LOOKED_AT]]


def _kind(sample: Sequence[Rendered], task: Task) -> tuple[str, str]:
    """(kind of task, its answers in words)."""
    choices = sample[0].choices
    if task.request == "choices" and choices is not None:
        named = ", ".join(" ".join(choice.split())[:30] for choice in choices[:4])
        return "choices", f"one of {len(choices)} answers ({named}{', ...' if len(choices) > 4 else ''})"
    if 10 * sum(_is_object(row.completion) for row in sample) >= 9 * len(sample):
        return "json", "answers in JSON"
    if task.metric.name == "rougeL":
        return "texts", "texts as answers"
    return "short answers", "short answers"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _lengths(texts: Sequence[str]) -> tuple[int, int]:
    counts = sorted(len(text.split()) for text in texts)
    return counts[(len(counts) - 1) // 2], counts[round(0.95 * (len(counts) - 1))]


def _words(lengths: tuple[int, int]) -> str:
    median, most = lengths
    return f"{median} word{'' if median == 1 else 's'} ({most} at the 95th percentile)"


def _counted(found: Look) -> str:
    train, validation, test = (found.rows[part] for part in ("train", "validation", "test"))
    return f"{train:,} rows to train on, {validation:,} to choose by, {test:,} to test on"


def _remarks(found: Look) -> list[str]:
    """What to know before a study is made of it."""
    lines = []
    if found.leaking:
        lines.append(f"# {found.leaking:,} train rows are copies of held-out ones, and are left out of training.")
    if found.unusable:
        lines.append(f"# {found.unusable:,} rows cannot be used: keeptune data check says why.")
    if found.rows["test"] < FEW_ROWS:
        lines.append(f"# Only {found.rows['test']:,} test rows: hardly any difference can be told from chance.")
    return lines


def _retained(answers: Answers) -> list[str]:
    if answers.retain is None:
        return ["retain: []  # nothing yet: the study cannot say what was forgotten"]
    if not answers.retain:
        return ["retain: none"]
    return ["retain:", *(f"  - {_yaml(entry)}" for entry in answers.retain)]


def _arms(found: Look, answers: Answers) -> list[str]:
    if not found.rows["train"]:
        return [
            f"# {NO_TRAIN}: nothing can be trained or shown. With one, add full, lora and more shots.",
            "arms: [prompt]",
            "prompt: {shots: [0]}",
        ]
    return [
        "# What is compared: prompts, all weights, adapters. What does not fit into memory is not run.",
        "arms: [prompt, full, lora]" if not answers.retain else "arms: [prompt, full, lora, lora+replay:5%]",
        f"train: {{epochs: {1 if found.rows['train'] > MANY_ROWS else 3}, global_batch: 16}}",
    ]


def _yaml(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("\n...\n").strip()
