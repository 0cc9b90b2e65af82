"""The composition root: from a recipe to the objects of a study."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.records import DataCard
from keeptune.data.encode import Encoder
from keeptune.data.examples import Example, Rendered
from keeptune.data.lazy import Joined, picked, places
from keeptune.data.leakage import asked_elsewhere
from keeptune.data.load import write_quarantine
from keeptune.data.splits import freeze
from keeptune.data.token_view import excerpt, row_tokens
from keeptune.data.turns import PLAIN_NOTE
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.config import HarnessConfig, TaskConfig
from keeptune.evaluate.harness import build_harness
from keeptune.evaluate.runner import chosen_items
from keeptune.evaluate.task import Judged, Task, build_task, build_text
from keeptune.models.load import load
from keeptune.retention.precheck import margin_warning
from keeptune.study import standard
from keeptune.study.bench import Bench
from keeptune.study.config import Entry, StudyConfig, TaskFile
from keeptune.study.files import check_files, resolved
from keeptune.study.sequence import check_order
from keeptune.study.settled import settle, settled

CARD_TOKENS = 400  # of the example in a data card


def build(config: StudyConfig, folder: Path, console: Console, data_root: Path = Path()) -> Bench:
    """Load the model, build the tasks, freeze their splits.

    Args:
        data_root: relative data paths of the recipe are below it (those of task files: below the file's folder).

    Raises:
        KeeptuneError: whatever is wrong with recipe, data or model, before anything is trained.
    """
    check_files((*config.target, *config.retain, *config.held_out), data_root)
    targets = [build_entry(entry, data_root, target=True) for entry in config.target]
    judged = None if _draws_on_suites(config) else Judged()
    suites = [build_entry(entry, data_root, judged=judged) for entry in config.retain]
    missing: list[str] = []
    if standard.applies(config):
        found, missing = standard.default_suites()
        suites = list(found.values())
        config = config.model_copy(update={"retain": tuple(found)})  # workers and manifest name the same ones
    held_out = [build_entry(entry, data_root) for entry in config.held_out]
    everything = [*targets, *suites, *held_out]
    _distinct(everything)
    _possible(config, targets, suites)
    (targets, suites), crossing = _apart(config, targets, suites, held_out)
    everything = [*targets, *suites, *held_out]
    config = settled(config, folder)
    lm = load(config.model, device=config.device, precision=config.precision)
    config = settle(config, folder, str(lm.dtype))
    encoder = Encoder(
        lm.tokenizer, context=lm.context, chat=lm.chat, overlong=config.overlong, unembedded=lm.unembedded
    )
    folder.mkdir(parents=True, exist_ok=True)
    for task in everything:
        freeze(task.splits, folder / "splits" / f"{task.name}.json")
        if task.loaded is not None and task.loaded.quarantined:
            write_quarantine(folder / "quarantine" / f"{task.name}.jsonl", task.loaded.quarantined)
    bench = Bench(
        config=config,
        folder=folder,
        console=console,
        lm=lm,
        encoder=encoder,
        targets=targets,
        suites=suites,
        held_out=held_out,
        cache=EvaluationCache(cache_folder()),
        base_hash=str(lm.hash),
        parameters=lm.parameters,
    )
    for line in (*missing, *crossing):
        bench.warn(line)
    for task in everything:
        _say_format(bench, task)
    return bench


def _say_format(bench: Bench, task: Task) -> None:
    """How the rows of a task are read; and that turns are laid out plainly, where the model has no chat template."""
    layout = task.loaded.layout if task.loaded is not None else None
    if layout is None:
        return
    bench.say(f"{task.name}: read as {layout.describe()}")
    if layout.talks and not bench.encoder.chat:
        bench.warn(f"{task.name}: {PLAIN_NOTE}")


def build_entry(entry: Entry, data_root: Path = Path(), *, target: bool = False, judged: Judged | None = None) -> Task:
    """The task or text of one entry of a recipe; ``judged``: a retained one that nothing trains on."""
    config = resolved(entry, data_root)
    if isinstance(config, HarnessConfig):
        return build_harness(config, data_root, target=target)
    return build_task(config, judged) if isinstance(config, TaskConfig) else build_text(config, judged)


def cache_folder() -> Path:
    """Where base scores and encoded rows are kept: $KEEPTUNE_CACHE, or keeptune below the user's cache folder."""
    given = os.environ.get("KEEPTUNE_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "keeptune" / "scores"


def margin_warnings(bench: Bench) -> list[str]:
    """Margins that the items cannot decide, before anything is trained."""
    found = []
    for suite in bench.suites:
        items = suite.splits.test[: suite.limit]
        n = min(len(items), bench.config.test_items or len(items))
        clusters = min(n, len({item.cluster for item in items}))
        warning = margin_warning(suite.suite(), n, clusters=clusters if clusters < n else None)
        found += [warning] if warning else []
    return found


def chance_of(bench: Bench) -> float | None:
    """Score of guessing on the test items of all targets; None where guessing scores nothing on one of them."""
    known = [(task.chance(), len(chosen_items(task, "test", bench.config.test_items))) for task in bench.targets]
    if any(chance is None for chance, _ in known):
        return None
    return sum((chance or 0.0) * n for chance, n in known) / sum(n for _, n in known)


def data_card(bench: Bench, task: Task) -> DataCard:
    """What a target task consists of, with one example as the model sees it."""
    wordings = task.wordings(bench.encoder.chat)
    shown = task.splits.train or task.splits.validation or task.splits.test
    first = wordings.fixed(shown[0])
    prompts: list[int] = []
    completions: list[int] = []
    for row in map(wordings.fixed, shown):
        prompts.append(len(bench.encoder.prompt(row)))
        completions.append(len(bench.encoder.completion(row.completion)))
    everything = Joined([task.splits.part(part) for part in ("train", "validation", "test")])
    loaded = task.loaded
    return DataCard(
        name=task.name,
        source=task.source,
        sha256=task.sha256,
        rows=len(everything) + (len(loaded.quarantined) if loaded else 0),
        counts={part: len(task.splits.part(part)) for part in ("train", "validation", "test")},
        clusters=len({example.cluster for example in everything}),
        quarantined=len(loaded.quarantined) if loaded else 0,
        duplicates=task.splits.duplicates,
        near_duplicates=task.splits.near_duplicates,
        leaks=task.leaks.sentence() if task.leaks else "",
        prompt_tokens=_spread(prompts),
        completion_tokens=_spread(completions),
        templates=tuple(template.text for template in wordings.templates),
        example_prompt=bench.encoder.prompt_text(first),
        example_completion=first.completion,
        example_tokens=_example_tokens(bench.encoder, first),
    )


def _example_tokens(encoder: Encoder, rendered: Rendered) -> tuple[tuple[str, str], ...]:
    """The row of the card token by token, a stretch around the border where it is long."""
    tokens = excerpt(row_tokens(encoder.tokenizer, encoder.row(rendered)), CARD_TOKENS)
    return tuple((token.text, token.look) for token in tokens)


def _spread(values: list[int]) -> tuple[int, int, int]:
    """(median, 95th percentile, largest)."""
    middle, high = np.percentile(values, [50, 95])
    return round(middle), round(high), max(values)


def _possible(config: StudyConfig, targets: Sequence[Task], suites: Sequence[Task]) -> None:
    """Refuse what would fail only after hours: orders of unknown targets, remedies that need retained suites."""
    for order in config.sequence.orders if config.sequence else ():
        check_order(order, [task.name for task in targets])
    for spec in config.specs:
        needing = [name for name, _ in spec.remedies if name in ("ewc", "guard")]
        if needing and not suites:
            raise ConfigError(
                f"the arm '{spec.name}' needs retained suites: {needing[0]} looks at what the base can do",
                where="retain",
                remedy="name what to retain, or leave the arm out",
            )


def _apart(
    config: StudyConfig, targets: Sequence[Task], suites: Sequence[Task], held_out: Sequence[Task]
) -> tuple[tuple[list[Task], list[Task]], list[str]]:
    """Targets and suites without train rows that another task asks on validation or test; and what left.

    A suite's train rows count only where a remedy draws on them.

    Raises:
        DataError: such rows, of a task whose split does not say on_leak: drop.
    """
    tasks = [*targets, *suites, *held_out]
    trained = [*targets, *(suites if _draws_on_suites(config) else ())]
    found = asked_elsewhere(
        {task.name: task.splits for task in tasks},
        {task.name: task.loaded.layout.prompt_columns for task in tasks if task.loaded and task.loaded.layout},
        {task.name for task in trained},
    )
    said: list[str] = []

    def clean(entry: Entry, task: Task) -> Task:
        pairs = found.get(task.name, ())
        if not pairs:
            return task
        text = f"{task.name}: {len(pairs)} train rows are asked by another task of this study"
        if _on_leak(entry) == "error":
            raise DataError(
                f"{text}; the first: {pairs[0]}", path=task.source, remedy="leave them out: split: {on_leak: drop}"
            )
        said.append(f"{text}; they were left out of training")
        gone = {pair.id for pair in pairs}
        return replace(task, splits=replace(task.splits, train=_without(task.splits.train, gone)))

    return (
        [clean(entry, task) for entry, task in zip(config.target, targets, strict=True)],
        [clean(entry, task) for entry, task in zip(config.retain, suites, strict=True)],
    ), said


def _draws_on_suites(config: StudyConfig) -> bool:
    """Whether an arm trains on rows of the retained suites; a sequence replays the targets before."""
    return any(name in ("replay", "ewc") for spec in config.specs for name, _ in spec.remedies)


def _without(examples: Sequence[Example], gone: set[str]) -> Sequence[Example]:
    return picked(examples, places(examples, lambda example: example.id not in gone))


def _on_leak(entry: Entry) -> str:
    config = entry.read() if isinstance(entry, TaskFile) else entry
    return "drop" if isinstance(config, HarnessConfig) else config.split.on_leak


def _distinct(tasks: list[Task]) -> None:
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two tasks are called '{twice[0]}'", remedy="give one of them another name:")
