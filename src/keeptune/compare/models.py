"""`compare` for two models: both answer the same items, whoever trained the second one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from keeptune.compare.shared_template import SharedTemplate, shared_template, short_name
from keeptune.compare.side_by_side import Comparison, SuitePair, side_by_side
from keeptune.core.errors import ConfigError
from keeptune.core.files import cache_folder
from keeptune.core.lines import print_line
from keeptune.core.records import ItemRecord, Part
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.task import Judged, Task
from keeptune.models.adapters import is_adapter
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.load import load
from keeptune.recipe.files import named_entries, with_margins
from keeptune.recipe.tasks import build_entry
from keeptune.study.manifest import manifest_of
from keeptune.study.messages import progress


def compare_models(
    base: str,
    tuned: str,
    retain: Sequence[str],
    *,
    target: str | None = None,
    margin: float | None = None,
    margins: Mapping[str, float | str] | None = None,
    limit: int | None = None,
    precision: str = "auto",
    console: Console,
    command: str = "",
) -> Comparison:
    """Judge what ``tuned`` lost against ``base``.

    Args:
        base: hub name, folder or "builtin".
        tuned: the same, or a folder with a peft adapter for ``base``.
        retain: what must not get worse: data files, text files, task files, builtin:name.
        target: the task that was trained for; it is reported and not judged.
        margin: points that a retained task may lose, where it does not say so itself.
        margins: suite -> margin, where suites differ: points, of free text a share ("1%").
        limit: test items of each task that are scored; all if None.
        precision: of both models: auto, bf16 or fp32.
        console: for progress.
        command: as the report quotes it.

    Raises:
        ConfigError: nothing to compare on.
        KeeptuneError: a model or data that cannot be used.

    Example:
        >>> from keeptune import compare_models, exit_code
        >>> silent = Console(quiet=True)
        >>> comparison = compare_models("builtin", "builtin", ["builtin:addition"], limit=8, console=silent)
        >>> [verdict.verdict for verdict in comparison.verdicts], exit_code(comparison.verdicts)
        (['Retained'], 0)
    """
    if not retain:
        raise ConfigError("nothing to compare on", where="--retain", remedy="name a task, a data file or a text file")
    started, clock = datetime.now(UTC), time.monotonic()
    tasks, aim = _tasks(retain, target, margin, margins or {})
    template = shared_template(base, tuned)
    for note in template.notes:
        print_line(note, console, "yellow")
    both = _ask_both(base, tuned, template, tasks, aim, precision, _Answers(console, limit))
    settings: dict[str, object] = {"base": base, "tuned": tuned, "retain": list(retain), "target": target}
    settings |= {"margin": margin, "limit": limit, "precision": precision}
    settings |= {"margins": dict(margins)} if margins else {}
    settings["layout"] = list(template.notes)
    return side_by_side(
        (short_name(base), short_name(tuned)),
        both.pairs,
        manifest_of(both.before, settings, [*tasks, *([aim] if aim else [])], command=command, started=started),
        target=aim.name if aim else None,
        wall_seconds=time.monotonic() - clock,
        same_weights=both.same_weights,
        notes=(*template.notes, *both.notes),
    )


def _tasks(
    retain: Sequence[str], target: str | None, margin: float | None, margins: Mapping[str, float | str]
) -> tuple[list[Task], Task | None]:
    """What is judged, and what was trained for."""
    # Nothing is trained here, so a copy in train harms nobody; the test parts are the same either way.
    judged = Judged(divide_test=False)
    entries = with_margins(named_entries(retain, "drop", margin), margins)
    aim = build_entry(named_entries([target], "drop")[0]) if target else None
    return [build_entry(entry, judged=judged) for entry in entries], aim


@dataclass(frozen=True)
class _Both:
    """What both models answered."""

    before: LanguageModel
    pairs: list[SuitePair]
    same_weights: bool
    notes: list[str]  # how many items were asked of one model alone


def _ask_both(
    base: str,
    tuned: str,
    template: SharedTemplate,
    tasks: Sequence[Task],
    aim: Task | None,
    precision: str,
    answers: _Answers,
) -> _Both:
    """Load one model after the other, and ask each every task; the base also the validation items of the retained."""
    everything = [*tasks, *([aim] if aim else [])]
    before_lm = load(base, precision=precision)
    template.put_on(before_lm)
    before = {task.name: answers(before_lm, task) for task in everything}
    able = {task.name: answers(before_lm, task, "validation") for task in tasks if task.splits.validation}
    adapted = is_adapter(tuned)
    after_lm = load(base if adapted else tuned, adapter=tuned if adapted else None, precision=precision)
    template.put_on(after_lm)
    after = {task.name: answers(after_lm, task) for task in everything}
    notes = [line for task in everything for line in _asked_of_both(task.name, before, after)]
    pairs = [
        SuitePair(task.suite(), before[task.name], after[task.name], able.get(task.name, ())) for task in everything
    ]
    return _Both(before_lm, pairs, hash_parameters(before_lm.model) == hash_parameters(after_lm.model), notes)


class _Answers:
    """Asks a model for its answers, item by item, and keeps them so that nothing is asked twice."""

    def __init__(self, console: Console, limit: int | None) -> None:
        self.console, self.limit = console, limit
        self.cache = EvaluationCache(cache_folder())

    def __call__(self, lm: LanguageModel, task: Task, part: Part = "test") -> tuple[ItemRecord, ...]:
        with progress(self.console, f"{lm.name}: {task.name}") as update:
            return self.cache.evaluate(lm, task, part, limit=self.limit, progress=update).items


def _asked_of_both(
    task: str, before: dict[str, tuple[ItemRecord, ...]], after: dict[str, tuple[ItemRecord, ...]]
) -> list[str]:
    """Keep, in place, the items of a task that both models were asked, and say how many others there are.

    A tokenizer may not know the characters of an item that the other one knows.
    """
    both = {item.id for item in before[task]} & {item.id for item in after[task]}
    alone = len(before[task]) + len(after[task]) - 2 * len(both)
    for side in (before, after):
        side[task] = tuple(item for item in side[task] if item.id in both)
    return [f"{task}: {alone} items were asked of one model alone and are not compared."] if alone else []
