"""What stands in front of a prompt: the system text of a run's target, and the demonstrations of its best prompting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from keeptune.core.errors import ConfigError
from keeptune.data.examples import Example, Rendered
from keeptune.data.prompts.templates import Template, TemplateSet
from keeptune.data.splits.split import frozen_ids
from keeptune.evaluate.shots import draw_shots
from keeptune.recipe.entries import TargetEntry

LOOKED_AT = 20  # rows that tell whether the system text is the same for all
DRAW = 0  # of demonstrations; a study's score is the mean over several
_TYPED = TemplateSet((Template.raw(),))


@dataclass(frozen=True)
class Demonstrations:
    """Worked examples and a system text, for models with a chat template and without."""

    wordings: TemplateSet | None = None
    examples: tuple[Example, ...] = ()
    system: str | None = None

    def shots(self, chat: bool) -> tuple[Rendered, ...]:
        """The worked examples as they stand in front of a prompt."""
        if self.wordings is None:
            return ()
        wordings = self.wordings.for_chat(chat)
        return tuple(wordings.fixed(example) for example in self.examples)

    def ask(self, prompt: str, chat: bool) -> Rendered:
        """A typed prompt as a row that brings its own prompt."""
        row = Example.make({"prompt": prompt, "completion": "-"})  # whatever the answer will be
        return replace(_TYPED.for_chat(chat).fixed(row), system=self.system)

    def without_shots(self) -> Demonstrations:
        """The system text alone."""
        return Demonstrations(system=self.system)


NOTHING = Demonstrations()


def demonstrations(run: Path, config: Mapping[str, Any], shots: int) -> Demonstrations:
    """As the run asked its first target: the first draw of ``shots`` train rows.

    Raises:
        KeeptuneError: the task's data are not here any more, or its demonstrations are made by lm-eval.
    """
    from keeptune.recipe.tasks import build_entry  # imports torch: a run without weights is refused before

    entry: Any = TypeAdapter(TargetEntry).validate_python(config["target"][0])
    task = build_entry(entry, target=True)
    if task.templates is None or task.adapter is not None:
        raise ConfigError("its prompts are lm-eval's own", where=task.name)
    kept = frozen_ids(run / "splits" / f"{task.name}.json", "train")
    pool = [example for example in task.splits.train if example.id in kept]
    systems = {task.templates.for_chat(True).fixed(example).system for example in pool[:LOOKED_AT]}
    system = systems.pop() if len(systems) == 1 else None
    return Demonstrations(task.templates, draw_shots(pool, shots, DRAW), system)
