"""Targets one after another: the continual-learning setting. Every stage starts from what the one before left.

Full fine-tuning goes on with the weights; LoRA is merged after every stage and starts anew. Each stage tries the
method's rates and keeps the best by its own validation items. After every stage all tasks are scored on test items,
which choose nothing: they fill the score matrix R[t, i]. Replay draws from the tasks before.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keeptune.core.errors import ConfigError
from keeptune.core.records import ItemRecord, SequenceSummary, read_records, write_json, write_records
from keeptune.inference.score import row_nats
from keeptune.methods.base import Method
from keeptune.retention.continual import sequence_summary
from keeptune.study.arms import KeyedRecord, finished, required
from keeptune.study.bench import Bench
from keeptune.study.choose import Candidate, pick
from keeptune.study.remedies import Surroundings, build_remedies, describe, limited, remedy_settings
from keeptune.study.spec import ArmSpec
from keeptune.train.loop import fit
from keeptune.train.progress import Progress

Row = dict[str, tuple[ItemRecord, ...]]  # task -> its test items after a stage


class SequenceRecord(KeyedRecord):
    """sequence.json: what a sequence went through. Its items are in items/<stage>/<task>.jsonl; stage 0 is the base."""

    label: str
    rates: tuple[float, ...]  # chosen at every stage
    seconds: tuple[float, ...]  # of training, all rates of a stage together


@dataclass(frozen=True)
class TaskSequence:
    """One arm through one order of the tasks; a job of the study."""

    spec: ArmSpec
    order: tuple[str, ...]
    seed: int
    rates: tuple[float, ...]  # that every stage tries

    @property
    def name(self) -> str:
        """Name of the folder, and as progress shows it."""
        return f"{self.spec.folder}-{'-'.join(self.order)}-seed{self.seed}"

    def folder(self, bench: Bench) -> Path:
        """Where it leaves its records."""
        return bench.folder / "sequences" / self.name

    def key(self, bench: Bench) -> str:
        """Content hash of everything that it depends on."""
        config = bench.config
        settings = [config.method_settings(self.spec.method), remedy_settings(config, self.spec)]
        return bench.test_key("sequence", self.order, settings, self.rates, self.seed, config.train.digest())

    def perform(self, bench: Bench) -> bool:
        """Go through the tasks; the bench's model is the base again afterwards."""
        folder = self.folder(bench)
        if finished(folder / "sequence.json", SequenceRecord, self.key(bench)):
            bench.say(f"{self.name}: finished before, skipped")
            return False
        shutil.rmtree(folder, ignore_errors=True)
        _write_row(folder, 0, {task: bench.evaluate(task, "test").items for task in self.order})
        rates, seconds, label = [], [], ""
        with bench.lm.changing():
            for stage, task in enumerate(self.order, 1):
                rate, spent, label = self._stage(bench, stage, task)
                rates.append(rate)
                seconds.append(spent)
                _write_row(folder, stage, {each: bench.evaluate(each, "test").items for each in self.order})
        record = SequenceRecord(key=self.key(bench), label=label, rates=tuple(rates), seconds=tuple(seconds))
        write_json(folder / "sequence.json", record)
        return True

    def _stage(self, bench: Bench, stage: int, task: str) -> tuple[float, float, str]:
        """Learn one task from the model as it is, which then holds what was learned: (rate, seconds, what it was)."""
        rows = bench.task_rows(task, self.seed)
        before = {each: bench.task_rows(each, self.seed).train for each in self.order[: stage - 1]}
        around = Surroundings(old=lambda: before, own=lambda: bench.own_rows(self.seed), harmless=lambda _: True)
        spec = self.spec if before else self.spec.without("replay", "ewc")  # nothing was learned that could be kept
        tried: list[tuple[Candidate, Method, Path]] = []
        seconds, label = 0.0, ""
        for lr in self.rates:
            folder = self.folder(bench) / f"stage-{stage}" / f"lr{lr:g}"
            remedies = build_remedies(bench.config, spec, around)
            built = bench.config.build_method(self.spec.method)
            method = limited(built, remedies)
            hooks = [Progress(bench.console, f"{self.name}, {task}")]
            result = fit(
                bench.lm,
                method,
                rows.train,
                rows.validation,
                bench.config.train,
                folder,
                lr=lr,
                seed=self.seed,
                hooks=hooks,
                remedies=remedies,
            )
            seconds, label = seconds + result.seconds, describe(built, remedies)
            try:
                scores = np.array([item.score for item in bench.evaluate(task, "validation").items])
                losses = np.array(row_nats(bench.lm, rows.validation))
            finally:
                bench.lm.restore(method)
            candidate = Candidate(f"{lr:g}", lr, scores, losses, diverged=result.diverged)
            tried.append((candidate, method, folder / method.artifact))
        best = pick([candidate for candidate, _, _ in tried])
        method, artifact = next((m, a) for candidate, m, a in tried if candidate is best)
        bench.lm.adapt(method)
        method.load(bench.lm.model, artifact)
        bench.lm.accept(method)
        shutil.rmtree(self.folder(bench) / f"stage-{stage}", ignore_errors=True)
        bench.say(f"{self.name}: stage {stage}, {task}, {100 * best.scores.mean():.1f} on validation at lr {best.name}")
        return best.cost, seconds, label


def sequence_jobs(bench: Bench) -> list[TaskSequence]:
    """Every arm through every order of the recipe."""
    settings = bench.config.sequence
    if settings is None:
        return []
    return [
        TaskSequence(spec, order, seed, bench.config.rates(spec.method))
        for order in settings.orders or (tuple(task.name for task in bench.targets),)
        for spec in bench.config.in_turn
        for seed in bench.config.seeds
    ]


def sequences(bench: Bench) -> list[SequenceSummary]:
    """What came of the jobs, once they are done."""
    return [_summary(bench, job) for job in sequence_jobs(bench)]


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


def _summary(bench: Bench, job: TaskSequence) -> SequenceSummary:
    folder = job.folder(bench)
    record = required(folder / "sequence.json", SequenceRecord, job.key(bench))
    stages = [_read_row(folder, stage, job.order) for stage in range(len(job.order) + 1)]
    return sequence_summary(
        [[[item.score for item in row[task]] for task in job.order] for row in stages],
        [[item.cluster for item in stages[0][task]] for task in job.order],
        order=job.order,
        arm=job.spec.name,
        label=record.label,
        seed=job.seed,
    )


def _write_row(folder: Path, stage: int, row: Row) -> None:
    for task, items in row.items():
        write_records(folder / "items" / str(stage) / f"{task}.jsonl", items)


def _read_row(folder: Path, stage: int, order: Sequence[str]) -> Row:
    return {task: tuple(read_records(folder / "items" / str(stage) / f"{task}.jsonl", ItemRecord)) for task in order}
