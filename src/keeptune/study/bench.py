"""What every arm of a study needs: the model, the encoder, the tasks, where to write, and what was scored before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from keeptune import __version__
from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.core.units import content_hash
from keeptune.data.encode import Encoder
from keeptune.data.examples import Encoded, Rendered
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.runner import Evaluation
from keeptune.evaluate.task import Task
from keeptune.models.language_model import LanguageModel
from keeptune.study.config import StudyConfig
from keeptune.study.progress import progress


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
    warnings: list[str] = field(default_factory=list)
    _rows: dict[int, tuple[list[Encoded], list[Encoded]]] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Targets and suites by name."""
        return {task.name: task for task in (*self.targets, *self.suites)}

    def say(self, line: str) -> None:
        """One line of progress."""
        self.console.print(line, style="dim", highlight=False, soft_wrap=True)

    def warn(self, line: str) -> None:
        """What the report has to say beside the scores; each line once."""
        if line not in self.warnings:
            self.warnings.append(line)
            self.console.print(f"warning: {line}", style="yellow", highlight=False, soft_wrap=True)

    def key(self, *parts: Any) -> str:
        """Content hash of what an arm depends on beside ``parts``: model, precision, data, wordings, item limits."""
        return content_hash(
            [
                __version__,
                self.base_hash,
                str(self.lm.dtype),
                [task.digest for task in (*self.targets, *self.suites)],
                [self.config.overlong, self.config.validation_items, self.config.test_items],
                *parts,
            ]
        )

    def evaluate(self, task: str, part: Part, *, shots: int = 0, draw: int = 0) -> Evaluation:
        """Score the model as it is now on a part of a task; the base out of the cache where it was scored before."""
        with progress(self.console, f"scoring {task}, {part}") as update:
            result = self.cache.evaluate(
                self.lm,
                self.tasks[task],
                part,
                shots=shots,
                draw=draw,
                limit=self.config.validation_items if part == "validation" else self.config.test_items,
                encoder=self.encoder,
                progress=update,
            )
        if result.skipped:
            self.warn(f"{task}: {len(result.skipped)} {part} items are longer than the window and were not asked")
        if result.truncated:
            self.warn(f"{task}: {result.truncated} {part} prompts lost their beginning to fit the window")
        return result

    def retained_changes(self, base: Mapping[str, Evaluation]) -> list[float]:
        """Change of the model as it is now on each retained suite, validation parts; positive is better."""
        changes = []
        for suite in self.suites:
            before, after = base[suite.name].value, self.evaluate(suite.name, "validation").value
            changes.append((before - after) / before if suite.request == "text" else after - before)
        return changes

    def training_rows(self, seed: int) -> tuple[list[Encoded], list[Encoded]]:
        """Train and validation rows of all targets, the wording of every train row drawn by the seed."""
        if seed not in self._rows:
            train: list[Encoded] = []
            validation: list[Encoded] = []
            for task in self.targets:
                wordings = task.wordings(self.encoder.chat)
                drawn = [wordings.for_training(example, seed) for example in task.splits.train]
                fixed = [wordings.fixed(example) for example in task.splits.validation]
                train += self._encoded(task, drawn)
                validation += self._encoded(task, fixed)
            if not train:
                raise DataError("no training row fits the model's window", remedy="set overlong: truncate_prompt")
            self._rows[seed] = (train, validation)
        return self._rows[seed]

    def _encoded(self, task: Task, rendered: Sequence[Rendered]) -> list[Encoded]:
        encoded = self.encoder.encode_all(rendered)
        if encoded.dropped:
            self.say(
                f"{task.name}: {len(encoded.dropped)} rows are longer than the window and were left out of training"
            )
        return list(encoded.rows)
