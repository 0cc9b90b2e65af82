"""How the items of a task are asked: the wording, the demonstrations, room for the answer, what the window holds.

The runner sends to the model what is built here, and `data preview` shows it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example, Rendered
from keeptune.data.prompts.templates import TemplateSet
from keeptune.evaluate.shots import Prompt, draw_shots, fit_prompt
from keeptune.evaluate.task import Task

Wording = Literal["fixed", "each", "unseen"]


@dataclass(frozen=True, slots=True)
class Item:
    """One item as it is asked: the text and its token ids."""

    rendered: Rendered
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Unasked:
    """One item that is left out, and why."""

    rendered: Rendered
    reason: str
    unwritable: bool  # the model could not write the answer; otherwise the prompt is too long or unreadable


@dataclass(frozen=True)
class PromptBuilder:
    """Asks the items of a task in one wording, behind one list of demonstrations."""

    encoder: Encoder
    wordings: TemplateSet
    number: int  # of the wording
    shots: tuple[Rendered, ...]  # the demonstrations, in the same wording
    max_new_tokens: int | None  # limit of a generated answer; None where choices are scored

    def ask(self, example: Example) -> Item | Unasked:
        """The prompt with as many demonstrations as the window holds beside the answer.

        Raises:
            DataError: see `fit_prompt`.
        """
        rendered = self.wordings.fixed(example, self.number)
        if self.encoder.unwritable(rendered):
            return Unasked(rendered, "the tokenizer cannot write the answer", unwritable=True)
        prompt = fit_prompt(self.encoder, rendered, self.shots, self.room(rendered))
        if prompt is None:
            reason = "the prompt does not fit the window or the model's vocabulary"
            return Unasked(rendered, reason, unwritable=False)
        return Item(rendered, prompt)

    def room(self, rendered: Rendered) -> int:
        """Tokens that the window must hold beside the prompt: the longest choice, or the generated answer."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return max(len(self.encoder.choice(choice)) for choice in rendered.choices or ())

    def expected(self, rendered: Rendered) -> tuple[int, ...]:
        """Token ids of the right answer: a choice as it is scored, or the first text that the model could write."""
        if self.max_new_tokens is None:
            return self.encoder.choice(rendered.completion)
        for text in rendered.references:
            try:
                return self.encoder.completion(text)
            except DataError:
                continue
        return self.encoder.choice(rendered.completion)


def prompt_builders(
    task: Task, encoder: Encoder, *, shots: int = 0, draw: int = 0, template: Wording = "fixed"
) -> list[PromptBuilder]:
    """One builder for every wording that the items are asked in; see `evaluate` for the arguments.

    Raises:
        ConfigError: more shots than the train part has examples.
    """
    wordings = task.wordings(encoder.chat, unseen=template == "unseen")
    demonstrations = draw_shots(task.splits.train, shots, draw)
    limit = None if task.request == "choices" else task.new_tokens(encoder)
    numbers = range(1) if template == "fixed" else range(len(wordings.templates))
    return [
        PromptBuilder(
            encoder, wordings, number, tuple(wordings.fixed(example, number) for example in demonstrations), limit
        )
        for number in numbers
    ]


def chosen_items(
    task: Task, part: Part, limit: int | None = None, only: Collection[str] | None = None
) -> list[Example]:
    """The items of a part that are scored, in the order of their ids; ``only``: those of them with these ids.

    Raises:
        DataError: there are none.
    """
    limits = [each for each in (limit, task.limit) if each is not None]
    items = sorted(task.splits.part(part), key=lambda example: example.id)[: min(limits, default=None)]
    if not items:
        raise DataError(f"'{task.name}' has no {part} items", path=task.source or None, remedy="add rows to this part")
    if only is None:
        return items
    wanted = frozenset(only)
    return [item for item in items if item.id in wanted]
