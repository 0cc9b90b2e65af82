"""Scores of the model as it is now: on a part of a task, on extra items, or on everything that choices are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeptune.core.records import Part
from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.cache import EvaluationCache
from keeptune.evaluate.prompts import Wording
from keeptune.evaluate.runner import Evaluation
from keeptune.evaluate.task import Task
from keeptune.models.language_model import LanguageModel
from keeptune.study.messages import Messages
from keeptune.study.records import ExtraEvaluation


@dataclass(frozen=True)
class Scorer:
    """Scores one model on the tasks of a study.

    The base's scores come out of the cache where it was scored before; those of a model in training are never kept.
    """

    lm: LanguageModel
    encoder: Encoder
    tasks: Mapping[str, Task]  # targets, retained suites and tasks held out, by name
    targets: Sequence[str]
    suites: Sequence[str]
    extras: Sequence[ExtraEvaluation]
    limits: Mapping[Part, int | None]  # items of a part that are scored; None: all
    cache: EvaluationCache
    messages: Messages

    def evaluate(
        self, task: str, part: Part, *, shots: int = 0, draw: int = 0, wording: Wording = "fixed"
    ) -> Evaluation:
        """Score the model on a part of a task; what a reader has to know about the base's scores is said."""
        with self.messages.progress(f"scoring {task}, {part}") as update:
            result = self.cache.evaluate(
                self.lm,
                self.tasks[task],
                part,
                shots=shots,
                draw=draw,
                template=wording,
                limit=self.limits[part],
                encoder=self.encoder,
                progress=update,
            )
        if self.lm.hash is not None:  # of the base; a model in training is not asked for warnings
            for note in result.notes():
                self.messages.warn(note)
        return result

    def evaluate_extra(self, extra: ExtraEvaluation) -> Evaluation:
        """Score the model on the test items of an extra evaluation."""
        return self.evaluate(extra.task, "test", wording=extra.wording)
