"""Targets one after another: the continual-learning setting. Every stage starts from what the one before left.

Full fine-tuning goes on with the weights; LoRA is merged after every stage and starts anew. Each stage tries the
method's rates and keeps the best by its own validation items. After every stage all tasks are scored on test items,
which choose nothing: they fill the score matrix R[t, i]. Replay draws from the tasks before.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keeptune.core.errors import ConfigError
from keeptune.core.records import ItemRecord, SequenceSummary, read_records, write_json, write_records
from keeptune.data.examples import Encoded
from keeptune.inference.score import row_nats
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.recommend.pick import Candidate, pick
from keeptune.retention.continual import sequence_summary
from keeptune.study.jobs.base import Unplanned
from keeptune.study.ledger import Ledger
from keeptune.study.records import KeyedRecord, finished, required
from keeptune.study.schedule.estimates import Estimates
from keeptune.study.workplace import Workplace
from keeptune.tracking.console import Progress
from keeptune.train.loop import fit
from keeptune.train.remedies.base import Need, RemedyInputs

Row = dict[str, tuple[ItemRecord, ...]]  # task -> its test items after a stage


class SequenceRecord(KeyedRecord):
    """sequence.json: what a sequence went through. Its items are in items/<stage>/<task>.jsonl; stage 0 is the base."""

    label: str
    rates: tuple[float, ...]  # chosen at every stage
    seconds: tuple[float, ...]  # of training, all rates of a stage together


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
        return ledger.test_key("sequence", self.order, settings, self.learning_rates, self.seed, train)

    def perform(self, workplace: Workplace) -> bool:
        """Go through the tasks, unless that was done; the model is the base again afterwards."""
        ledger = workplace.ledger
        folder, key = self.folder(ledger), self.key(ledger)
        if finished(folder / "sequence.json", SequenceRecord, key):
            workplace.messages.say(f"{self.name}: finished before, skipped")
            return False
        if ledger.writes:
            shutil.rmtree(folder, ignore_errors=True)
        self._test(workplace, 0)
        writes = self.arm.without(Need.REHEARSAL_ROWS).needs(Need.SELF_GENERATED_ROWS)
        texts = workplace.self_generated_rows(self.seed) if writes else {}
        stages = []
        with workplace.lm.changing():
            for stage, task in enumerate(self.order, 1):
                stages.append(self._learn(workplace, texts, stage, task))
                self._test(workplace, stage)
        record = SequenceRecord(
            key=key,
            label=stages[-1].label,
            rates=tuple(stage.lr for stage in stages),
            seconds=tuple(stage.seconds for stage in stages),
        )
        if ledger.writes:
            write_json(folder / "sequence.json", record)
        return True

    def _test(self, workplace: Workplace, stage: int) -> None:
        """Score all tasks on test items after a stage."""
        row = {task: workplace.scorer.evaluate(task, "test").items for task in self.order}
        if workplace.ledger.writes:
            _write_row(self.folder(workplace.ledger), stage, row)

    def _learn(self, workplace: Workplace, texts: Mapping[str, Sequence[Encoded]], stage: int, task: str) -> _Stage:
        """Learn one task from the model as it is, which then holds what was learned."""
        data, lm, folder = workplace.data, workplace.lm, self.folder(workplace.ledger) / f"stage-{stage}"
        before = {each: data.target_rows(each, self.seed).train for each in self.order[: stage - 1]}
        arm = self.arm if before else self.arm.without(Need.REHEARSAL_ROWS)  # nothing was learned that could be kept
        inputs = RemedyInputs(rehearsal_rows=lambda: before, self_generated_rows=lambda: texts)
        rows, tried, seconds, label = data.target_rows(task, self.seed), [], 0.0, ""
        for lr in self.learning_rates:
            method, remedies = arm.build(inputs)
            result = fit(
                lm,
                method,
                rows.train,
                rows.validation,
                workplace.config.train,
                folder / f"lr{lr:g}",
                lr=lr,
                seed=self.seed,
                hooks=[Progress(workplace.messages.console, f"{self.name}, {task}"), *workplace.trackers],
                remedies=remedies,
                memory=workplace.microbatches,
                world=workplace.world,
                sharding=workplace.sharding,
            )
            seconds, label = seconds + result.seconds, arm.describe(remedies)
            try:
                scores = np.array([item.score for item in workplace.scorer.evaluate(task, "validation").items])
                losses = np.array(row_nats(lm, rows.validation))
            finally:
                lm.restore(method)
            candidate = Candidate(f"{lr:g}", lr, scores, losses, diverged=result.diverged)
            tried.append((candidate, method, folder / f"lr{lr:g}" / method.artifact))
        best = pick([candidate for candidate, _, _ in tried])
        method, weights = next((m, w) for candidate, m, w in tried if candidate is best)
        lm.adapt(method)
        method.load(lm.model, weights)
        lm.accept(method)
        workplace.world.wait()  # all have read the weights
        if workplace.ledger.writes:
            shutil.rmtree(folder, ignore_errors=True)
        score = 100 * best.scores.mean()
        workplace.messages.say(f"{self.name}: stage {stage}, {task}, {score:.1f} on validation at lr {best.name}")
        return _Stage(best.cost, seconds, label)


@dataclass(frozen=True)
class _Stage:
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


def _write_row(folder: Path, stage: int, row: Row) -> None:
    for task, items in row.items():
        write_records(folder / "items" / str(stage) / f"{task}.jsonl", items)


def _read_row(folder: Path, stage: int, order: Sequence[str]) -> Row:
    return {task: tuple(read_records(folder / "items" / str(stage) / f"{task}.jsonl", ItemRecord)) for task in order}
