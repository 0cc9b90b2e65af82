"""Tasks as one model can take them: rows that its tokenizer or chat template does not keep are set aside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.survey import date_note, survey
from keeptune.data.examples import Example
from keeptune.data.formats.quarantine import refuse_many, set_aside
from keeptune.data.storage.lazy import Concat, picked, places
from keeptune.evaluate.task import Task

PARTS = ("train", "validation", "test")


def suited_tasks(
    encoder: Encoder, targets: Sequence[Task], *others: Sequence[Task]
) -> tuple[tuple[list[Task], ...], list[str]]:
    """Targets and other tasks without the rows that cannot be used with this model, and what to say of them.

    Raises:
        DataError: there are too many of them in a task.
    """
    said: list[str] = []

    def suit(task: Task, target: bool) -> Task:
        if task.templates is None or (task.adapter is not None and not target):  # nothing of it is encoded here
            return task
        found, notes = _suited(task, encoder)
        said.extend(f"{task.name}: {note}" for note in notes)
        return found

    kept = ([suit(task, True) for task in targets], *([suit(task, False) for task in tasks] for tasks in others))
    dated = date_note(encoder.tokenizer) if encoder.chat else None
    return kept, [*said, *([dated] if dated else [])]


def _suited(task: Task, encoder: Encoder) -> tuple[Task, list[str]]:
    everything = Concat([task.splits.part(part) for part in PARTS])
    found = survey(encoder, task.wordings(encoder.chat), everything)
    bad = sorted(found.unusable.values(), key=lambda row: (row.path, row.line))
    before = task.loaded.quarantined if task.loaded is not None else ()
    if not bad:
        return task, list(found.notes)
    refuse_many([*bad, *before], len(everything) + len(before), task.source, found.remedy)
    train, validation, test = (without(task.splits.part(part), found.unusable) for part in PARTS)
    splits = replace(task.splits, train=train, validation=validation, test=test)
    loaded = replace(task.loaded, quarantined=[*before, *bad]) if task.loaded is not None else None
    return replace(task, splits=splits, loaded=loaded, _chances={}), [*set_aside(bad), *found.notes]


def without(examples: Sequence[Example], gone: Collection[str]) -> Sequence[Example]:
    """The examples whose ids are not among ``gone``."""
    return picked(examples, places(examples, lambda example: example.id not in gone))
