"""A whole question as both sides get it: keeptune a recipe, the stitched side its rows and items as token ids.

The stitched side reads, divides and tokenises nothing: it is given what keeptune's own recipe comes to, and that costs
it no time. `answers` makes item records of what it brings back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from keeptune.core.config import read_recipe
from keeptune.core.records import ItemRecord, Part
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example
from keeptune.evaluate.metrics.base import Answer
from keeptune.evaluate.metrics.bits_per_byte import bits_per_byte
from keeptune.evaluate.prompts import Item, chosen_items, prompt_builders
from keeptune.evaluate.task import Task
from keeptune.evaluate.text import windows
from keeptune.models.load import model_folder
from keeptune.recipe.config import StudyConfig
from keeptune.study.messages import Messages
from keeptune.study.run import open_study
from keeptune.study.workplace import Workplace

Kind = Literal["choices", "text", "generate"]
PARTS: tuple[Part, ...] = ("validation", "test")
Answers = list[Any]  # by item: log-probabilities of its choices, of its windows, or generated ids


@dataclass(frozen=True)
class Asked:
    """One part of one task: what a model is asked, and how the answers become scores."""

    task: Task
    encoder: Encoder
    examples: Sequence[Example]
    items: Sequence[Item]  # empty where the task is free text
    limit: int | None  # of generated tokens

    @property
    def kind(self) -> Kind:
        """How the items are asked."""
        if self.task.request == "text":
            return "text"
        return "choices" if self.limit is None else "generate"

    def to_json(self) -> dict[str, Any]:
        """As the stitched side reads it: a prompt and its choices per item; of a free text, its windows."""
        if self.kind == "text":
            blocks = [windows(self.encoder, str(example.fields["text"])) for example in self.examples]
            start = len(self.encoder.beginning)
            items = [[(window[:start], [window[start:]]) for window in block] for block in blocks]
        elif self.kind == "choices":
            items = [[(i.prompt.ids, [*map(self.encoder.choice, i.rendered.choices or ())])] for i in self.items]
        else:
            items = [[(i.prompt.ids, [])] for i in self.items]
        return {"kind": self.kind, "items": items, "limit": self.limit}

    def answers(self, said: Answers) -> list[ItemRecord]:
        """Items with their scores, by the task's own metric."""
        if self.kind == "text":
            return [self._measured(*pair) for pair in zip(self.examples, said, strict=True)]
        found = [self._answer(item, each) for item, each in zip(self.items, said, strict=True)]
        scores = self.task.metric.score(found).values
        return [
            ItemRecord(suite=self.task.name, id=e.id, cluster=e.cluster, score=s, prediction=a.prediction)
            for e, a, s in zip(self.examples, found, scores, strict=True)
        ]

    def _measured(self, example: Example, logprobs: Sequence[Sequence[float]]) -> ItemRecord:
        text = str(example.fields["text"])
        bits = bits_per_byte(-sum(sums[0] for sums in logprobs), text)
        weight = len(text.encode())
        return ItemRecord(suite=self.task.name, id=example.id, cluster=example.cluster, score=bits, weight=weight)

    def _answer(self, item: Item, said: Any) -> Answer:
        row = item.rendered
        if self.kind == "generate":
            references = tuple(reference.strip() for reference in row.references)
            return Answer(row.id, self.encoder.answer(self.encoder.text(said).strip(), references), references)
        texts = [choice.strip() for choice in row.choices or ()]
        best = int(np.argmax(said[0]))
        return Answer(row.id, texts[best], (texts[row.answer or 0],))


def ask(task: Task, part: Part, encoder: Encoder, limit: int | None) -> Asked:
    """A part of a task in its first wording, without demonstrations, as `evaluate` asks it."""
    examples = chosen_items(task, part, limit)
    if task.request == "text":
        return Asked(task, encoder, examples, (), None)
    (builder,) = prompt_builders(task, encoder)
    asked = [(example, found) for example in examples if isinstance(found := builder.ask(example), Item)]
    return Asked(task, encoder, [e for e, _ in asked], [found for _, found in asked], builder.max_new_tokens)


@dataclass(frozen=True)
class Question:
    """A recipe and all that it comes to."""

    name: str
    recipe: Path
    overrides: tuple[str, ...]
    data_root: Path
    folder: Path  # for what both sides write

    @cached_property
    def workplace(self) -> Workplace:
        """Tasks, encoder and rows, read in this process; keeptune's side reads them again in its own time."""
        config = read_recipe(StudyConfig, self.recipe, self.overrides)
        place, quiet = self.folder / f"{self.name}-read", Messages(Console(quiet=True))
        return open_study(config, place, quiet, self.data_root, self.folder / "read-cache")[1]

    @property
    def config(self) -> StudyConfig:
        """The recipe."""
        return self.workplace.config

    @property
    def target(self) -> str:
        """Name of the task that is learned."""
        return self.workplace.scorer.targets[0]

    @property
    def suites(self) -> Mapping[str, Task]:
        """The retained ones."""
        return {name: self.workplace.scorer.tasks[name] for name in self.workplace.scorer.suites}

    @cached_property
    def asked(self) -> dict[tuple[str, Part], Asked]:
        """Every part of target and suites."""
        scorer = self.workplace.scorer
        return {
            (name, part): ask(scorer.tasks[name], part, scorer.encoder, scorer.limits[part])
            for name in (self.target, *self.suites)
            for part in PARTS
        }

    @cached_property
    def model(self) -> Path:
        """Folder of the base."""
        return model_folder(self.config.model)

    @cached_property
    def spec(self) -> Path:
        """The file that the stitched side reads."""
        rows, train = self.workplace.data.rows(self.config.seeds[0]), self.config.train
        lora = self.config.method("lora").model_dump()
        parts = {"train": rows.train, "validation": rows.validation}
        content = {
            "model": str(self.model),
            "rows": {part: [(row.prompt_ids, row.completion_ids) for row in found] for part, found in parts.items()},
            "order": [list(map(int, step)) for step in rows.order],
            "epochs": train.epochs,
            "global_batch": train.global_batch,
            "warmup": train.warmup,
            "weight_decay": train.weight_decay,
            "clip": train.clip,
            "lora": {"r": lora["rank"], "lora_alpha": lora["alpha"]},
            "asked": {f"{name}/{part}": asked.to_json() for (name, part), asked in self.asked.items()},
        }
        path = self.folder / f"{self.name}.json"
        path.write_text(json.dumps(content))
        return path
