"""From a recipe to a place of work: tasks built and checked, the model loaded, the books opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keeptune import __version__
from keeptune.core.errors import ConfigError, DataError
from keeptune.core.files import cache_folder
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example
from keeptune.data.load import write_quarantine
from keeptune.data.splits.leakage import asked_elsewhere
from keeptune.data.splits.split import freeze
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.task import Judged, Task
from keeptune.inference.score import NO_LIKELIHOOD
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.entries import Entry
from keeptune.recipe.files import check_files, resolved
from keeptune.recipe.search import SEARCH
from keeptune.recipe.tasks import build_entry, drops_leaks
from keeptune.study import standard
from keeptune.study.baseline import FOLDER as BASE
from keeptune.study.data import TrainingData
from keeptune.study.jobs.sequence import check_order
from keeptune.study.ledger import Ledger
from keeptune.study.messages import Messages
from keeptune.study.records import ExtraEvaluation
from keeptune.study.rehearsal import (
    OwnTexts,
    Rehearsal,
    SuiteRows,
    TextPieces,
    blocks_of,
    check_apart,
    check_room,
    drawn_on,
    text_of,
)
from keeptune.study.scorer import Scorer
from keeptune.study.seeds import with_seeds
from keeptune.study.settled import settle, settle_engine, settled
from keeptune.study.suited import suited_tasks, without
from keeptune.study.workplace import Workplace
from keeptune.tracking.base import TRACKERS
from keeptune.tracking.guarded import Guarded
from keeptune.train.microbatch_autotune import MicrobatchMemory
from keeptune.train.remedies.base import Need


@dataclass(frozen=True)
class Prepared:
    """A study before its model is loaded: what other processes are given instead of the recipe's files."""

    config: StudyConfig
    folder: Path
    targets: tuple[Task, ...]
    suites: tuple[Task, ...]
    held_out: tuple[Task, ...]  # scored before and after, and in no training
    cache: Path  # of base scores and encoded rows
    text: tuple[Example, ...] = ()  # blocks of the recipe's unlabelled text

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Targets, suites and tasks held out."""
        return (*self.targets, *self.suites, *self.held_out)

    @property
    def with_rows(self) -> int:
        """How many of the retained suites have train rows."""
        return sum(bool(suite.splits.train) for suite in self.suites)

    def drawing_on(self, source: Need) -> list[str]:
        """The arms that draw on a source of rows; those of a sequence have the tasks before in place of suites."""
        config, having = self.config, (self.with_rows, len(self.suites))
        drawn = [(arm.name, drawn_on(arm, *having)) for arm in config.training_arms]
        drawn += [(SEARCH, drawn_on(arm, *having)) for arm in config.searched_arms]
        drawn += [(arm.name, drawn_on(arm.without(Need.REHEARSAL_ROWS), 0, 0)) for arm in config.sequence_arms]
        return list(dict.fromkeys(name for name, sources in drawn if source in sources))

    @property
    def extras(self) -> tuple[ExtraEvaluation, ...]:
        """What the test also asks: every wording of the targets that have unseen ones, and tasks held out."""
        worded = [task.name for task in self.targets if task.unseen is not None]
        return (
            *(ExtraEvaluation(f"{name}@{wording}", name, wording) for name in worded for wording in ("each", "unseen")),
            *(ExtraEvaluation(task.name, task.name) for task in self.held_out),
        )


def prepare(
    config: StudyConfig, folder: Path, messages: Messages, data_root: Path = Path(), cache: Path | None = None
) -> Prepared:
    """Build the tasks, apart from what a model decides about them (`suit`).

    Args:
        config: the recipe.
        folder: the run's folder.
        messages: told what was left out.
        data_root: relative data paths of the recipe are below it (those of task files: below the file's folder).
        cache: for base scores and encoded rows; by default the user's.

    Raises:
        KeeptuneError: whatever is wrong with recipe or data, before a model is loaded.
    """
    text = text_of(config)
    check_files((*config.target, *config.retain, *config.held_out, *text), data_root)
    for name in config.trackers:
        TRACKERS[name].check()
    targets = [build_entry(entry, data_root, target=True) for entry in config.target]
    judged = None if config.needs(Need.REHEARSAL_ROWS) else Judged()
    suites = [build_entry(entry, data_root, judged=judged) for entry in config.retain]
    if standard.applies(config):
        found, missing = standard.default_suites()
        suites = list(found.values())
        config = config.model_copy(update={"retain": tuple(found)})  # workers and manifest name the same ones
        for line in missing:
            messages.warn(line)
    held_out = [build_entry(entry, data_root) for entry in config.held_out]
    _check(config, targets, suites, held_out)
    blocks = [block for each in text for block in blocks_of(resolved(each, data_root), config.rehearsal)]
    check_apart(blocks, suites)
    targets, suites = _apart(config, targets, suites, held_out, messages)
    tasks = (tuple(targets), tuple(suites), tuple(held_out))
    return Prepared(settled(config, folder), folder, *tasks, cache or cache_folder(), tuple(blocks))


def load_base(prepared: Prepared) -> LanguageModel:
    """The model that the study starts from.

    Raises:
        KeeptuneError: it cannot be used.
    """
    config = prepared.config
    return load(config.model, device=config.device, precision=config.precision, quantise=config.quantise)


def encoder_of(config: StudyConfig, lm: LanguageModel) -> Encoder:
    """How rows become tokens of the model."""
    return Encoder.of(lm, overlong=config.overlong)


def suit(prepared: Prepared, lm: LanguageModel, messages: Messages) -> Prepared:
    """The study without the rows that cannot be used with its model; its splits are frozen from then on.

    Raises:
        ConfigError: the model is an encoder-decoder, and the recipe asks for what only other models do.
        DataError: there are too many of them in a task.
    """
    if lm.encoder_decoder:
        _check_pairs(prepared)
    encoder = encoder_of(prepared.config, lm)
    if prepared.drawing_on(Need.SELF_GENERATED_ROWS):
        check_room(prepared.config.rehearsal, encoder)
    (targets, suites, held_out), unsuited = suited_tasks(encoder, prepared.targets, prepared.suites, prepared.held_out)
    for line in unsuited:
        messages.warn(line)
    suited = replace(prepared, targets=tuple(targets), suites=tuple(suites), held_out=tuple(held_out))
    for task in suited.tasks:
        freeze(task.splits, suited.folder / "splits" / f"{task.name}.json")
        if task.loaded is not None and task.loaded.quarantined:
            write_quarantine(suited.folder / "quarantine" / f"{task.name}.jsonl", task.loaded.quarantined)
    return suited


def workplace_of(prepared: Prepared, lm: LanguageModel, messages: Messages) -> Workplace:
    """Everything in its place around the model; what the recipe left open is settled and written down."""
    config, folder = settle(prepared.config, prepared.folder, str(lm.dtype)), prepared.folder
    began_with = settle_engine(folder, lm.base_engine.name)
    if not lm.keep_to(began_with):
        messages.warn(f"the study began on a machine where {lm.name} ran {began_with}: results differ in rounding")
    encoder = encoder_of(config, lm)
    targets = {task.name: task for task in prepared.targets}
    suites = {task.name: task for task in prepared.suites}
    data = TrainingData(encoder, targets, suites, config.train, config.mixture, prepared.cache, messages)
    own = OwnTexts(lm, lm.hash, encoder, config.rehearsal, folder / BASE, prepared.cache, messages)
    rehearsal = Rehearsal(SuiteRows(data, own), TextPieces(prepared.text, encoder, config.rehearsal))
    config = with_seeds(config, data, lm.parameters)
    scorer = Scorer(
        lm=lm,
        encoder=encoder,
        tasks={task.name: task for task in prepared.tasks},
        targets=tuple(targets),
        suites=tuple(suites),
        extras=prepared.extras,
        limits={"validation": config.validation_items, "test": config.test_items},
        cache=EvaluationCache(prepared.cache),
        messages=messages,
    )
    learned_from = [task.digest for task in (*prepared.targets, *prepared.suites)]
    ledger = Ledger(
        folder=folder,
        config=config,
        identity=[__version__, lm.hash, str(lm.dtype), learned_from, config.overlong, config.validation_items],
        asked=[
            [task.digest for task in prepared.held_out],
            [task.unseen_digest for task in prepared.targets],
            config.test_items,
        ],
        margins=[suite.margin for suite in prepared.suites],
        targets=tuple(targets),
        suites=tuple(suites),
        extras=tuple(extra.name for extra in prepared.extras),
        rehearsal=rehearsal.keys,
    )
    trackers = tuple(Guarded(TRACKERS[name], messages.warn) for name in config.trackers)
    memory = MicrobatchMemory(folder / "engines")
    return Workplace(config, ledger, lm, lm.parameters, encoder, data, rehearsal, scorer, messages, memory, trackers)


def _check(config: StudyConfig, targets: Sequence[Task], suites: Sequence[Task], held_out: Sequence[Task]) -> None:
    """Refuse what would fail only after hours: two tasks of one name, orders of unknown targets, remedies that need
    retained suites, trainings without a row.
    """
    names = [task.name for task in (*targets, *suites, *held_out)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two tasks are called '{twice[0]}'", remedy="give one of them another name:")
    if config.every_arm and not any(task.splits.train for task in targets):
        raise DataError(
            f"no row to train on: {', '.join(task.name for task in targets)} has held-out parts alone",
            field="target",
            remedy="call one of the parts train, leave out the column that names parts, or leave prompting alone:"
            " arms: [prompt]",
        )
    for order in config.sequence.orders if config.sequence else ():
        check_order(order, [task.name for task in targets])
    if config.searches and not suites:
        raise ConfigError("a search keeps what is retained, and nothing is", where="retain", remedy="name what to keep")
    for arm in config.training_arms:
        needing = arm.needs(Need.SUITES)
        if needing and not suites:
            raise ConfigError(
                f"the arm '{arm.name}' needs retained suites: {needing[0]} looks at what the base can do",
                where="retain",
                remedy="name what to retain, or leave the arm out",
            )


def _check_pairs(prepared: Prepared) -> None:
    """Refuse what an encoder-decoder cannot do: it reads prompts and writes answers, and nothing else.

    Raises:
        ConfigError: free text to retain, a method or a remedy for decoder-only models.
    """
    only = "or use a decoder-only model"
    for task in prepared.tasks:
        if task.request == "text" or task.adapter is not None:
            why = NO_LIKELIHOOD if task.request == "text" else "suites of lm-eval are asked of decoder-only models"
            raise ConfigError(why, where=task.name, remedy=f"leave it out, {only}")
    config = prepared.config
    for arm in (*config.training_arms, *config.searched_arms):
        if not arm.method.encoder_decoders:
            raise ConfigError(
                f"{arm.method.name} is for decoder-only models", where=arm.name, remedy=f"leave it out, {only}"
            )
        rows = prepared.with_rows or int(arm not in config.training_arms)  # a search leaves out what has none
        if drawn_on(arm, rows, rows) & {Need.SELF_GENERATED_ROWS, Need.TEXT_ROWS}:
            raise ConfigError(
                "an encoder-decoder neither writes nor reads free text: there is nothing for a remedy to draw on",
                where=arm.name,
                remedy=f"retain suites that have train rows and use replay, {only}",
            )


def _apart(
    config: StudyConfig, targets: Sequence[Task], suites: Sequence[Task], held_out: Sequence[Task], messages: Messages
) -> tuple[list[Task], list[Task]]:
    """Targets and suites without train rows that another task asks on validation or test.

    A suite's train rows count only where a remedy draws on them.

    Raises:
        DataError: such rows, of a task whose split does not say on_leak: drop.
    """
    tasks = [*targets, *suites, *held_out]
    trained = [*targets, *(suites if config.needs(Need.REHEARSAL_ROWS) else ())]
    found = asked_elsewhere(
        {task.name: task.splits for task in tasks},
        {task.name: task.loaded.layout.prompt_columns for task in tasks if task.loaded and task.loaded.layout},
        {task.name for task in trained},
    )

    def clean(entry: Entry, task: Task) -> Task:
        pairs = found.get(task.name, ())
        if not pairs:
            return task
        text = f"{task.name}: {len(pairs)} train rows are asked by another task of this study"
        if not drops_leaks(entry):
            raise DataError(
                f"{text}; the first: {pairs[0]}", path=task.source, remedy="leave them out: split: {on_leak: drop}"
            )
        messages.warn(f"{text}; they were left out of training")
        gone = {pair.id for pair in pairs}
        return replace(task, splits=replace(task.splits, train=without(task.splits.train, gone)))

    return (
        [clean(entry, task) for entry, task in zip(config.target, targets, strict=True)],
        [clean(entry, task) for entry, task in zip(config.retain, suites, strict=True)],
    )
