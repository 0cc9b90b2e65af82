"""What every arm of a study needs: the model, the encoder, the tasks, where to write, and what was scored before."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from keeptune import __version__
from keeptune.batching.mixture import mixture_order, rates
from keeptune.batching.plan import shuffled_steps
from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.core.units import content_hash
from keeptune.data.encode import Encoder
from keeptune.data.encoded_cache import encoded
from keeptune.data.examples import Encoded, Rendered
from keeptune.data.lazy import Joined, Made, picked
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.runner import Evaluation, Wording
from keeptune.evaluate.task import Task
from keeptune.evaluate.text import windows
from keeptune.inference.self_replay import self_replay
from keeptune.models.language_model import LanguageModel
from keeptune.retention.change import change_of
from keeptune.retention.pairs import pair
from keeptune.retention.skill import Skill, skill_of
from keeptune.study.arms import Look, SuiteLook, View
from keeptune.study.config import StudyConfig
from keeptune.study.progress import progress
from keeptune.train.gauge import GaugeBase

TEXT_TOKENS = 64  # trained tokens of a row that is made of free text


@dataclass(frozen=True)
class TrainingRows:
    """What one training sees."""

    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    order: Sequence[Sequence[int]]  # indices of the train rows of every optimiser step


@dataclass
class Bench:
    """The built objects of one study. Make one with `build.build`."""

    config: StudyConfig
    folder: Path
    console: Console
    lm: LanguageModel
    encoder: Encoder
    targets: Sequence[Task]
    suites: Sequence[Task]
    cache: EvaluationCache
    base_hash: str  # content hash of the base's weights
    parameters: int  # of the base
    held_out: Sequence[Task] = ()  # scored before and after, and in no training
    warnings: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    _own: dict[int, list[Encoded]] = field(default_factory=dict)
    _rows: dict[tuple[str, int], tuple[Sequence[Encoded], Sequence[Encoded]]] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Targets, suites and tasks held out, by name."""
        return {task.name: task for task in (*self.targets, *self.suites, *self.held_out)}

    @cached_property
    def views(self) -> tuple[View, ...]:
        """What the test also looks at."""
        worded = [task.name for task in self.targets if task.unseen is not None]
        return (
            *(View(f"{name}@{wording}", name, wording) for name in worded for wording in ("each", "unseen")),
            *(View(task.name, task.name) for task in self.held_out),
        )

    def say(self, line: str) -> None:
        """One line of progress."""
        self.said.append(line)
        self.console.print(line, style="dim", highlight=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """What the report has to say beside the scores; each line once."""
        if line not in self.warnings:
            self.warnings.append(line)
            self.console.print(f"warning: {line}", style="yellow", highlight=False, soft_wrap=True)

    def key(self, *parts: Any) -> str:
        """Content hash of what a training and its validation depend on beside ``parts``: model, precision, data,
        wordings, validation items.
        """
        return content_hash(
            [
                __version__,
                self.base_hash,
                str(self.lm.dtype),
                [task.digest for task in (*self.targets, *self.suites)],
                [self.config.overlong, self.config.validation_items],
                *parts,
            ]
        )

    def test_key(self, *parts: Any) -> str:
        """Content hash of what test scores depend on beside ``parts``: more to ask does not mean to train again."""
        asked = [task.digest for task in self.held_out], [task.unseen_digest for task in self.targets]
        return self.key(asked, self.config.test_items, *parts)

    def evaluate(
        self, task: str, part: Part, *, shots: int = 0, draw: int = 0, wording: Wording = "fixed"
    ) -> Evaluation:
        """Score the model as it is now on a part of a task; the base out of the cache where it was scored before."""
        with progress(self.console, f"scoring {task}, {part}") as update:
            result = self.cache.evaluate(
                self.lm,
                self.tasks[task],
                part,
                shots=shots,
                draw=draw,
                template=wording,
                limit=self.config.validation_items if part == "validation" else self.config.test_items,
                encoder=self.encoder,
                progress=update,
            )
        if self.lm.hash is not None:  # of the base; a model in training is not asked for warnings
            for note in result.notes():
                self.warn(note)
        return result

    def look(self, view: View) -> Evaluation:
        """Score the model as it is now on a view's test items."""
        return self.evaluate(view.task, "test", wording=view.wording)

    def remember_base(self) -> GaugeBase:
        """Look at the model while it is the base: at what later ones are compared with."""
        _ = self.kept
        return self.gauge

    @cached_property
    def base_validation(self) -> dict[str, Evaluation]:
        """The base on every retained suite, validation parts; ask while the model is the base."""
        if self.lm.hash is None:
            raise RuntimeError("the model is not the base")
        return {suite.name: self.evaluate(suite.name, "validation") for suite in self.suites}

    @cached_property
    def kept(self) -> tuple[Skill, ...]:
        """The suites that can lose something, with their margins, by the base's validation items.

        Ask while the model is the base.
        """
        skills = (skill_of(s.suite(), self.base_validation[s.name].items) for s in self.suites)
        return tuple(skill for skill in skills if skill.measurable)

    def look_at_model(self) -> Look:
        """The model as it is now on the validation items of all targets and of the suites of `kept`."""
        runs = [self.evaluate(task.name, "validation") for task in self.targets]
        return Look(
            target=tuple(item.score for run in runs for item in run.items),
            suites=tuple(self._look_at_suite(skill) for skill in self.kept),
        )

    def _look_at_suite(self, skill: Skill) -> SuiteLook:
        name = skill.suite.name
        scores = pair(self.base_validation[name].items, self.evaluate(name, "validation").items)
        change = change_of(skill.suite, scores)
        return SuiteLook(
            suite=name,
            margin=skill.suite.required_margin,
            change=change.estimate,
            error=change.se,
            scores=tuple(scores.after.tolist()),
        )

    @cached_property
    def gauge(self) -> GaugeBase:
        """What the base predicts on the target's validation rows; ask first while the model is the base."""
        return GaugeBase.of(self.lm, self._encoded_rows(self.config.seeds[0])[1], self.cache.folder)

    def order_settings(self) -> Any:
        """What, beside seed and size, decides the order of the rows."""
        mixture = self.config.mixture
        return mixture.model_dump(mode="json") if mixture else None

    def training_rows(self, seed: int, examples: int | None = None) -> TrainingRows:
        """Rows of all targets, the wording of every train row drawn by the seed.

        With ``examples`` the first so many of a shuffled order: smaller sets are parts of larger ones, and all take
        as many steps as the whole set.
        """
        train, validation, tasks = self._encoded_rows(seed)
        settings = self.config.train
        steps = settings.steps(len(train))
        if examples is not None:
            chosen = sorted(np.random.default_rng(seed).permutation(len(train))[:examples].tolist())
            train, tasks = picked(train, np.array(chosen)), [tasks[i] for i in chosen]
        if self.config.mixture is not None:
            drawn = rates(Counter(tasks), self.config.mixture)
            order = mixture_order(tasks, settings.global_batch, steps, drawn, seed)
        else:
            order = list(itertools.islice(shuffled_steps(len(train), settings.global_batch, seed), steps))
        return TrainingRows(train, validation, order)

    def old_rows(self, seed: int) -> dict[str, Sequence[Encoded]]:
        """Train rows of every retained suite that has some: what replay and Fisher information draw on."""
        rows = {suite.name: self._encoded_task(suite, seed)[0] for suite in self.suites}
        return {name: found for name, found in rows.items() if found}

    def own_rows(self, seed: int) -> dict[str, list[Encoded]]:
        """Texts that the base made itself, from where a text starts; ask first while the model is the base."""
        settings = self.config.remedies.self_replay
        if seed not in self._own:
            prompts = [self.encoder.beginning] * settings.rows
            with progress(self.console, "the base writes texts to replay") as update:
                self._own[seed] = self_replay(
                    self.lm, prompts, settings.tokens, seed=seed, end_ids=(self.encoder.end_id,), progress=update
                )
        return {"self": self._own[seed]}

    def task_rows(self, task: str, seed: int) -> TrainingRows:
        """Rows of one target alone, in shuffled epochs."""
        train, validation = self._encoded_task(self.tasks[task], seed)
        return TrainingRows(train, validation, ())

    def _encoded_rows(self, seed: int) -> tuple[Sequence[Encoded], Sequence[Encoded], list[str]]:
        """(train rows, validation rows, task of every train row)."""
        pairs = [self._encoded_task(task, seed) for task in self.targets]
        train, validation = (Joined(part) for part in zip(*pairs, strict=True))
        if not train:
            raise DataError("no training row fits the model's window", remedy="set overlong: truncate_prompt")
        tasks = [task.name for task, (rows, _) in zip(self.targets, pairs, strict=True) for _ in range(len(rows))]
        return train, validation, tasks

    def _encoded_task(self, task: Task, seed: int) -> tuple[Sequence[Encoded], Sequence[Encoded]]:
        """(train rows, validation rows) of a task; of a free text its train blocks alone. Encoded once per seed."""
        if (task.name, seed) not in self._rows:
            self._rows[task.name, seed] = (
                (self._blocks(task), []) if task.request == "text" else self._worded(task, seed)
            )
        return self._rows[task.name, seed]

    def _blocks(self, text: Task) -> list[Encoded]:
        """Free text as rows of the size of an answer: a small share of replay could not pay for longer ones."""
        blocks = [windows(self.encoder, str(example.fields["text"]), TEXT_TOKENS) for example in text.splits.train]
        start = len(self.encoder.beginning)
        pieces = [ids for block in blocks for ids in block if self.encoder.lacks(ids) is None]
        return [Encoded(f"text {i}", ids[:start], ids[start:]) for i, ids in enumerate(pieces)]

    def _worded(self, task: Task, seed: int) -> tuple[Sequence[Encoded], Sequence[Encoded]]:
        wordings = task.wordings(self.encoder.chat)
        train = Made(task.splits.train, lambda example: wordings.for_training(example, seed))
        return (
            self.encoded(task, train, ["train", seed]),
            self.encoded(task, Made(task.splits.validation, wordings.fixed), ["validation"]),
        )

    def encoded(self, task: Task, rendered: Sequence[Rendered], which: Any) -> Sequence[Encoded]:
        """Rows that fit the window; says how many do not. ``which`` names them among those of the task."""
        with progress(self.console, f"encoding {task.name}") as update:
            made = encoded(self.encoder, rendered, [task.digest, which], self.cache.folder, progress=update)
        for reason, rows in made.reasons().items():
            self.say(f"{task.name}: {rows} rows were left out of training: {reason}")
        return made.rows
