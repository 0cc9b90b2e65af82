"""Targets one after another: the continual-learning setting. Every stage starts from what the one before left.

Full fine-tuning goes on with the weights; LoRA is merged after every stage and starts anew. Each stage tries the
method's rates and keeps the best by its own validation items. After every stage all tasks are scored on test items,
which choose nothing: they fill the score matrix R[t, i]. Replay draws from the tasks before.

Every rate that was tried and every stage that was scored is found again, so an interrupted sequence goes on where it
was: the weights that a stage chose stay on disk until the last one is done.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keeptune.core.errors import ConfigError, DataError
from keeptune.core.files import sync_all
from keeptune.core.records import ItemRecord, SequenceSummary, read_records, write_json, write_records
from keeptune.core.units import content_hash
from keeptune.inference.score import row_nats
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.pick import Candidate, pick
from keeptune.retention.continual import sequence_summary
from keeptune.study.jobs.base import Amount, Unplanned
from keeptune.study.ledger import Ledger
from keeptune.study.records import KeyedRecord, finished, required
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.workplace import Workplace
from keeptune.tracking.console import Progress
from keeptune.train.checkpoints.keeper import discard
from keeptune.train.loop import fit
from keeptune.train.remedies.base import Need

Row = dict[str, tuple[ItemRecord, ...]]  # task -> its test items after a stage


class SequenceRecord(KeyedRecord):
    """sequence.json: what a sequence went through. Its items are in items/<stage>/<task>.jsonl; stage 0 is the base."""

    label: str
    rates: tuple[float, ...]  # chosen at every stage
    seconds: tuple[float, ...]  # of training, all rates of a stage together


class TriedRecord(KeyedRecord):
    """tried.json: what a stage came to at one rate; its weights are beside it as long as they are needed."""

    lr: float
    scores: tuple[float, ...]  # of the task's validation items
    losses: tuple[float, ...]  # nats of its validation rows
    seconds: float  # of training
    label: str
    diverged: bool

    def candidate(self) -> Candidate:
        """As something to choose between."""
        return Candidate(f"{self.lr:g}", self.lr, np.array(self.scores), np.array(self.losses), diverged=self.diverged)


@dataclass(frozen=True)
class TaskSequence(Unplanned):
    """One arm through one order of the tasks."""

    arm: Arm
    order: tuple[str, ...]
    seed: int
    learning_rates: tuple[float, ...]  # that every stage tries

    @property
    def name(self) -> str:
        """Name of the folder, and as progress shows it."""
        return f"{self.arm.folder}-{'-'.join(self.order)}-seed{self.seed}"

    @property
    def amount(self) -> Amount:  # type: ignore[override]
        """Every task at every rate, and all tasks tested after each."""
        return Amount(len(self.order) * len(self.learning_rates), len(self.order) + 1)

    def seconds(self, estimates: Estimates, config: StudyConfig) -> float:
        """All stages, all rates."""
        return estimates.chain(config, self.arm)

    def belongs_to(self, config: StudyConfig) -> bool:
        """Whether the recipe still has its seed."""
        return self.seed in config.seeds

    def folder(self, ledger: Ledger) -> Path:
        """Where it leaves its records."""
        return ledger.folder / "sequences" / self.name

    def key(self, ledger: Ledger) -> str:
        """Content hash of everything that it depends on."""
        settings, train = self.arm.settings(), ledger.config.train.digest()
        rows = ledger.drawn_on(self.arm)
        return ledger.test_key("sequence", self.order, settings, rows, self.learning_rates, self.seed, train)

    def perform(self, workplace: Workplace) -> bool:
        """Go through the tasks, unless that was done; the model is the base again afterwards."""
        ledger = workplace.ledger
        folder, key = self.folder(ledger), self.key(ledger)
        if finished(folder / "sequence.json", SequenceRecord, key):
            workplace.messages.say(f"{self.name}: finished before, skipped")
            return False
        if ledger.writes and not finished(folder / "begun.json", KeyedRecord, key):
            shutil.rmtree(folder, ignore_errors=True)
            write_json(folder / "begun.json", KeyedRecord(key=key))
        workplace.world.wait()
        _score(workplace, folder, 0, self.order)
        stages = []
        with workplace.lm.changing():
            for stage, task in enumerate(self.order, 1):
                stages.append(_Stage(self, workplace, stage, task).learn())
                _score(workplace, folder, stage, self.order)
        record = SequenceRecord(
            key=key,
            label=stages[-1].label,
            rates=tuple(stage.lr for stage in stages),
            seconds=tuple(stage.seconds for stage in stages),
        )
        workplace.world.wait()  # all have read what they need
        if ledger.writes:
            write_json(folder / "sequence.json", record)
            for weights in folder.glob("stage-*"):
                shutil.rmtree(weights, ignore_errors=True)
        return True


class _Stage:
    """One task to be learned from the model as it is."""

    def __init__(self, sequence: TaskSequence, workplace: Workplace, number: int, task: str) -> None:
        self.sequence, self.workplace, self.number, self.task = sequence, workplace, number, task
        self.folder = sequence.folder(workplace.ledger) / f"stage-{number}"
        data, seed = workplace.data, sequence.seed
        before = {each: data.target_rows(each, seed).train for each in sequence.order[: number - 1]}
        # where nothing was learned before, nothing could be kept
        self.arm = sequence.arm if before else sequence.arm.without(Need.REHEARSAL_ROWS)
        self.inputs = replace(workplace.rehearsal.inputs(seed), rehearsal_rows=lambda: before)

    def learn(self) -> _Learned:
        """Try the rates that were not tried; the model then holds what was learned at the best of them."""
        sequence, lm = self.sequence, self.workplace.lm
        tried = {f"{lr:g}": self._tried(lr) or self._try(lr) for lr in sequence.learning_rates}
        best = pick([record.candidate() for record in tried.values()])
        method, _ = self.arm.build(self.inputs)
        weights = self._place(best.cost) / method.artifact
        if not weights.is_dir():
            self._try(best.cost)
        lm.adapt(method)
        method.load(lm.model, weights)
        lm.accept(method)
        for name in tried:
            if name != best.name and self.workplace.ledger.writes:
                shutil.rmtree(self.folder / f"lr{name}" / method.artifact, ignore_errors=True)
        self.workplace.messages.say(
            f"{sequence.name}: stage {self.number}, {self.task}, {100 * best.scores.mean():.1f} on validation"
            f" at lr {best.name}"
        )
        labels = [record.label for record in tried.values()]
        return _Learned(best.cost, sum(record.seconds for record in tried.values()), labels[-1])

    def _tried(self, lr: float) -> TriedRecord | None:
        """What came of a rate, if it was tried."""
        return finished(self._place(lr) / "tried.json", TriedRecord, self._key(lr))

    def _try(self, lr: float) -> TriedRecord:
        """Train at a rate and score on validation items; the model is afterwards as it was before."""
        workplace, lm, sequence = self.workplace, self.workplace.lm, self.sequence
        rows = workplace.data.target_rows(self.task, sequence.seed)
        method, remedies = self.arm.build(self.inputs)
        if workplace.ledger.writes:  # its weights are gone, and half of a training is no result
            (self._place(lr) / "tried.json").unlink(missing_ok=True)
        result = fit(
            lm,
            method,
            rows.train,
            rows.validation,
            workplace.config.train,
            self._place(lr),
            lr=lr,
            seed=sequence.seed,
            hooks=[Progress(workplace.messages.console, f"{sequence.name}, {self.task}"), *workplace.trackers],
            remedies=remedies,
            memory=workplace.microbatches,
            key=self._key(lr),
            world=workplace.world,
            sharding=workplace.sharding,
        )
        try:
            record = TriedRecord(
                key=self._key(lr),
                lr=lr,
                scores=tuple(item.score for item in workplace.scorer.evaluate(self.task, "validation").items),
                losses=tuple(row_nats(lm, rows.validation)),
                seconds=result.seconds,
                label=self.arm.describe(remedies),
                diverged=result.diverged,
            )
        finally:
            lm.restore(method)
        if workplace.ledger.writes:
            write_json(self._place(lr) / "tried.json", record)
            sync_all(self._place(lr) / method.artifact, self._place(lr) / "tried.json")
            discard(self._place(lr))
        return record

    def _place(self, lr: float) -> Path:
        return self.folder / f"lr{lr:g}"

    def _key(self, lr: float) -> str:
        return content_hash([self.sequence.key(self.workplace.ledger), self.number, lr])


@dataclass(frozen=True)
class _Learned:
    """What learning one task came to."""

    lr: float  # chosen
    seconds: float  # of training, all rates together
    label: str


def sequence_jobs(config: StudyConfig, targets: Sequence[str]) -> list[TaskSequence]:
    """Every arm through every order of the recipe."""
    if config.sequence is None:
        return []
    return [
        TaskSequence(arm, order, seed, config.learning_rates(arm))
        for order in config.sequence.orders or (tuple(targets),)
        for arm in config.sequence_arms
        for seed in config.seeds
    ]


def read_sequence(ledger: Ledger, job: TaskSequence) -> SequenceSummary:
    """What came of a job that is done."""
    folder = job.folder(ledger)
    record = required(folder / "sequence.json", SequenceRecord, job.key(ledger))
    stages = [_read_row(folder, stage, job.order) for stage in range(len(job.order) + 1)]
    return sequence_summary(
        [[[item.score for item in row[task]] for task in job.order] for row in stages],
        [[item.cluster for item in stages[0][task]] for task in job.order],
        order=job.order,
        arm=job.arm.name,
        label=record.label,
        seed=job.seed,
    )


def check_order(order: Sequence[str], names: Sequence[str]) -> None:
    """Refuse an order that does not name targets, two or more and each once.

    Raises:
        ConfigError: with the targets there are.
    """
    unknown = [name for name in order if name not in names]
    if unknown or len(set(order)) < len(order) or len(order) < 2:
        raise ConfigError(
            f"'{unknown[0]}' is no target" if unknown else "an order names two targets or more, each once",
            where="sequence.orders",
            remedy=f"the targets are {', '.join(names)}",
        )


def _score(workplace: Workplace, folder: Path, stage: int, order: Sequence[str]) -> None:
    """Test items of all tasks after a stage, unless they are there."""
    try:
        _read_row(folder, stage, order)
    except (DataError, FileNotFoundError):
        row = {task: workplace.scorer.evaluate(task, "test").items for task in order}
        if workplace.ledger.writes:
            for task, items in row.items():
                write_records(folder / "items" / str(stage) / f"{task}.jsonl", items)


def _read_row(folder: Path, stage: int, order: Sequence[str]) -> Row:
    return {task: tuple(read_records(folder / "items" / str(stage) / f"{task}.jsonl", ItemRecord)) for task in order}
