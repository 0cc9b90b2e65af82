"""`compare` for two models: both answer the same items, whoever trained the second one."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial

from rich.console import Console

from keeptune.compare.asking import Answered, ask_until_settled
from keeptune.compare.shared_template import SharedTemplate, shared_template, short_name
from keeptune.compare.side_by_side import Comparison, SuitePair, side_by_side
from keeptune.core.errors import ConfigError
from keeptune.core.files import cache_folder
from keeptune.core.lines import print_line
from keeptune.core.records import ItemRecord, Part
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.metrics.corpus import CorpusMetric
from keeptune.evaluate.prompts import chosen_items
from keeptune.evaluate.task import Judged, Task
from keeptune.models.adapters import is_adapter
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.load import load
from keeptune.recipe.files import named_entries, with_margins
from keeptune.recipe.tasks import build_entry
from keeptune.retention.sequential import Stop
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
    fast: bool = False,
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
        fast: ask the items in blocks, and of every task no more than settles its verdict.
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
    sides = _load_both(base, tuned, template, precision, _Answers(console, limit))
    asked = [sides.suite(task, len(tasks), fast=fast) for task in tasks] + ([sides.target(aim)] if aim else [])
    settings: dict[str, object] = {"base": base, "tuned": tuned, "retain": list(retain), "target": target}
    settings |= {"margin": margin, "limit": limit, "precision": precision}
    settings |= {"margins": dict(margins)} if margins else {}
    settings |= {"fast": True} if fast else {}
    settings["layout"] = list(template.notes)
    return side_by_side(
        (short_name(base), short_name(tuned)),
        asked,
        manifest_of(sides.before, settings, [*tasks, *([aim] if aim else [])], command=command, started=started),
        target=aim.name if aim else None,
        wall_seconds=time.monotonic() - clock,
        same_weights=sides.same_weights,
        notes=(*template.notes, *sides.notes),
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
class _Sides:
    """Both models, and how they are asked."""

    before: LanguageModel
    after: LanguageModel
    answers: _Answers
    notes: list[str] = field(default_factory=list)  # how many items were asked of one model alone

    @cached_property
    def same_weights(self) -> bool:
        """Whether they are the same model, by content."""
        return hash_parameters(self.before.model) == hash_parameters(self.after.model)

    def suite(self, task: Task, suites: int, *, fast: bool) -> SuitePair:
        """What both answer of a retained task, and the base on its validation items.

        Args:
            task: the task.
            suites: number of tasks that are judged together.
            fast: ask no more than settles the verdict.
        """
        able = self.answers(self.before, task, "validation") if task.splits.validation else ()
        if not fast:
            return self._pair(task, self._ask(task), able)
        seen, stop = ask_until_settled(
            task.suite(),
            chosen_items(task, "test", self.answers.limit),
            partial(self._ask, task),
            able,
            suites,
            whole=isinstance(task.metric, CorpusMetric),
            same_weights=self.same_weights,
        )
        return self._pair(task, seen, able, stop)

    def target(self, task: Task) -> SuitePair:
        """What both answer of the task that was trained for."""
        return self._pair(task, self._ask(task))

    def _ask(self, task: Task, only: Collection[str] | None = None) -> Answered:
        return Answered.of(self.answers(self.before, task, only=only), self.answers(self.after, task, only=only))

    def _pair(
        self, task: Task, seen: Answered, able: tuple[ItemRecord, ...] = (), stop: Stop | None = None
    ) -> SuitePair:
        if seen.alone:
            self.notes.append(f"{task.name}: {seen.alone} items were asked of one model alone and are not compared.")
        return SuitePair(task.suite(), seen.before, seen.after, able, stop)


def _load_both(base: str, tuned: str, template: SharedTemplate, precision: str, answers: _Answers) -> _Sides:
    """Load one model after the other."""
    before = load(base, precision=precision)
    template.put_on(before)
    adapted = is_adapter(tuned)
    after = load(base if adapted else tuned, adapter=tuned if adapted else None, precision=precision)
    template.put_on(after)
    return _Sides(before, after, answers)


class _Answers:
    """Asks a model for its answers, item by item, and keeps them so that nothing is asked twice."""

    def __init__(self, console: Console, limit: int | None) -> None:
        self.console, self.limit = console, limit
        self.cache = EvaluationCache(cache_folder())

    def __call__(
        self, lm: LanguageModel, task: Task, part: Part = "test", only: Collection[str] | None = None
    ) -> tuple[ItemRecord, ...]:
        with progress(self.console, f"{lm.name}: {task.name}") as update:
            return self.cache.evaluate(lm, task, part, limit=self.limit, only=only, progress=update).items
