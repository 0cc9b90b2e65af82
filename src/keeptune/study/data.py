"""What a study trains on: the rows of its tasks, encoded once, drawn and ordered by seeds."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keeptune.batching.mixture import MixtureConfig, mixture_order, rates
from keeptune.batching.plan import shuffled_steps
from keeptune.core.errors import DataError
from keeptune.data.encode.cache import encoded
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded, Rendered
from keeptune.data.storage.lazy import Concat, LazyMap, picked
from keeptune.evaluate.task import Task
from keeptune.evaluate.text import windows
from keeptune.study.messages import Messages
from keeptune.train.loop import TrainConfig

TEXT_TOKENS = 64  # trained tokens of a row that is made of free text

Parts = tuple[Sequence[Encoded], Sequence[Encoded]]  # train rows, validation rows


@dataclass(frozen=True)
class TrainingRows:
    """What one training sees."""

    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    order: Sequence[Sequence[int]]  # indices of the train rows of every optimiser step


@dataclass(frozen=True)
class TrainingData:
    """Encoded rows of targets and retained suites.

    Example:
        >>> rows = data.rows(seed=0)
        >>> fit(lm, method, rows.train, rows.validation, config, folder, lr=1e-4, order=rows.order)
    """

    encoder: Encoder
    targets: Mapping[str, Task]
    suites: Mapping[str, Task]
    train: TrainConfig
    mixture: MixtureConfig | None
    cache: Path  # folder of encoded rows
    messages: Messages
    _encoded: dict[tuple[str, int], Parts] = field(default_factory=dict, repr=False)

    def rows(self, seed: int, examples: int | None = None, longer: int = 1) -> TrainingRows:
        """Rows of all targets, the wording of every train row drawn by the seed.

        With ``examples`` the first so many of a shuffled order: smaller sets are parts of larger ones, and all take
        as many steps as the whole set. ``longer``: times the recipe's epochs.
        """
        train, validation, tasks = self._all_targets(seed)
        steps = self.train.times(longer).steps(len(train))
        if examples is not None:
            chosen = sorted(np.random.default_rng(seed).permutation(len(train))[:examples].tolist())
            train, tasks = picked(train, np.array(chosen)), [tasks[i] for i in chosen]
        if self.mixture is not None:
            drawn = rates(Counter(tasks), self.mixture)
            order = mixture_order(tasks, self.train.global_batch, steps, drawn, seed)
        else:
            order = list(itertools.islice(shuffled_steps(len(train), self.train.global_batch, seed), steps))
        return TrainingRows(train, validation, order)

    def validation_rows(self, seed: int) -> Sequence[Encoded]:
        """Validation rows of all targets."""
        return self._all_targets(seed)[1]

    def target_rows(self, task: str, seed: int) -> TrainingRows:
        """Rows of one target alone, in shuffled epochs."""
        train, validation = self._parts(self.targets[task], seed)
        return TrainingRows(train, validation, ())

    def rehearsal_rows(self, seed: int) -> dict[str, Sequence[Encoded]]:
        """Train rows of every retained suite that has some: what replay and Fisher information draw on."""
        rows = {name: self._parts(suite, seed)[0] for name, suite in self.suites.items()}
        return {name: found for name, found in rows.items() if found}

    def _all_targets(self, seed: int) -> tuple[Sequence[Encoded], Sequence[Encoded], list[str]]:
        """(train rows, validation rows, task of every train row)."""
        parts = [self._parts(task, seed) for task in self.targets.values()]
        train, validation = (Concat(part) for part in zip(*parts, strict=True))
        if not train:
            raise DataError("no training row fits the model's window", remedy="set overlong: truncate_prompt")
        tasks = [name for name, (rows, _) in zip(self.targets, parts, strict=True) for _ in range(len(rows))]
        return train, validation, tasks

    def _parts(self, task: Task, seed: int) -> Parts:
        """(train rows, validation rows) of a task; of a free text its train blocks alone. Encoded once per seed."""
        if (task.name, seed) not in self._encoded:
            self._encoded[task.name, seed] = (
                (self._blocks(task), []) if task.request == "text" else self._worded(task, seed)
            )
        return self._encoded[task.name, seed]

    def _blocks(self, text: Task) -> list[Encoded]:
        """Free text as rows of the size of an answer: a small share of replay could not pay for longer ones."""
        blocks = [windows(self.encoder, str(example.fields["text"]), TEXT_TOKENS) for example in text.splits.train]
        start = len(self.encoder.beginning)
        pieces = [ids for block in blocks for ids in block if self.encoder.lacks(ids) is None]
        return [Encoded(f"text {i}", ids[:start], ids[start:]) for i, ids in enumerate(pieces)]

    def _worded(self, task: Task, seed: int) -> Parts:
        wordings = task.wordings(self.encoder.chat)
        train = LazyMap(task.splits.train, lambda example: wordings.for_training(example, seed))
        return (
            self._encode(task, train, ["train", seed]),
            self._encode(task, LazyMap(task.splits.validation, wordings.fixed), ["validation"]),
        )

    def _encode(self, task: Task, rendered: Sequence[Rendered], which: Any) -> Sequence[Encoded]:
        """Rows that fit the window; says how many do not. ``which`` names them among those of the task."""
        with self.messages.progress(f"encoding {task.name}") as update:
            made = encoded(self.encoder, rendered, [task.digest, which], self.cache, progress=update)
        for reason, rows in made.reasons().items():
            self.messages.say(f"{task.name}: {rows} rows were left out of training: {reason}")
        return made.rows
