"""Items of a task as evaluation asks them: the prompt that the model is sent, and the answer that is expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keeptune.core.errors import DataError
from keeptune.core.records import Part
from keeptune.core.tokens import TokenPage, TokenRow, TokenView
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.token_texts import row_tokens
from keeptune.data.examples import Encoded, Example
from keeptune.evaluate.prompts import Item, PromptBuilder, chosen_items, prompt_builders
from keeptune.evaluate.shots import takes_shots
from keeptune.evaluate.task import Task
from keeptune.inspect.preview import Shown, wording_name
from keeptune.inspect.token_view import LOOKED_AT, row_notes, shortened


class AskedItems:
    """The test items of a task, or its validation items where it has no others, behind worked examples.

    Args:
        task: see `build_task`.
        encoder: encodes as evaluation with this model does; its policy says what becomes of prompts that are too long.
        shots: worked examples in front of each prompt.
        draw: number of the draw of worked examples.

    Raises:
        ConfigError: more shots than the train part has examples.
        DataError: the task has neither test nor validation items.
    """

    def __init__(self, task: Task, encoder: Encoder, *, shots: int, draw: int = 0) -> None:
        assert task.loaded is not None  # a task of rows
        self.task, self.loaded, self.encoder = task, task.loaded, encoder
        self.layout = task.loaded.layout
        self.shots, self.draw = shots, draw
        self.part: Part = "test" if task.splits.test else "validation"
        self.items = chosen_items(task, self.part)
        self.builders = prompt_builders(task, encoder, shots=shots, draw=draw, template="each")

    def shown(self, rows: int = 3) -> list[Shown]:
        """The first ``rows`` items in the wording that evaluation asks in by default."""
        first = self.builders[0]
        return [
            Shown.make(item, self.part, first.wordings.fixed(item, first.number), self.view(first, item))
            for item in self.items[:rows]
        ]

    def page(self, *, model: str, rows: int = 3) -> TokenPage:
        """All that the page of a preview says; ``model`` as the user names it."""
        looked_at = self.items[:LOOKED_AT]
        long = [item for item in looked_at if not self._fits(item)]
        return TokenPage(
            source=self.task.source,
            model=model,
            layout=self.layout.describe() if self.layout else "",
            window=self.encoder.context,
            policy=self.encoder.overlong,
            seed=self.draw,
            rows=tuple(self._row(item, self.builders) for item in self.items[:rows]),
            long=tuple(self._row(item, self.builders[:1]) for item in long[:rows]),
            long_count=len(long),
            looked_at=len(looked_at),
            total=len(self.items),
            notes=tuple(self.notes()),
            shots=self.shots,
        )

    def notes(self) -> list[str]:
        """Which items these are, where the worked examples are from, and what evaluation would refuse."""
        splits, leaks = self.task.splits, self.task.leaks
        notes = [
            *row_notes(self.loaded, self.task.wordings(self.encoder.chat), self.encoder),
            f"{self.part} items in the order in which they are asked, behind draw {self.draw} of {self.shots} worked"
            f" examples from {len(splits.train):,} training rows",
            *splits.notes,
        ]
        if leaks is not None and leaks.copies:
            notes.append(f"{leaks.sentence()}: evaluation refuses them, or drops them as is done here (on_leak: drop)")
        return notes

    def view(self, builder: PromptBuilder, example: Example) -> TokenView:
        """Every token that the model is sent for this item, and the expected answer behind them."""
        name = wording_name(builder.wordings, example, builder.wordings.fixed(example, builder.number))
        try:
            asked = builder.ask(example)
        except DataError as error:
            return TokenView(name, 0, 0, (), dropped=self.shots, problem=f"evaluation stops here: {error.message}")
        if not isinstance(asked, Item):
            return TokenView(name, 0, 0, (), dropped=self.shots, problem=f"not asked: {asked.reason}")
        prompt = asked.prompt
        row = Encoded(example.id, prompt.ids, builder.expected(asked.rendered))
        return TokenView(
            name=name,
            prompt_tokens=len(row.prompt_ids),
            completion_tokens=len(row.completion_ids),
            tokens=tuple(row_tokens(self.encoder.tokenizer, row, "expected")),
            shots=prompt.shots,
            dropped=prompt.dropped,
            problem="; ".join(_losses(asked)),
        )

    def _row(self, item: Example, builders: Sequence[PromptBuilder]) -> TokenRow:
        views = [self.view(builder, item) for builder in builders]
        return TokenRow(
            f"{item.path}:{item.line}",
            self.part,
            tuple(replace(view, tokens=shortened(view.tokens)) for view in views),
        )

    def _fits(self, item: Example) -> bool:
        """Whether the whole prompt, all worked examples included, fits beside the answer."""
        try:
            asked = self.builders[0].ask(item)
        except DataError:
            return False
        if not isinstance(asked, Item):
            return asked.unwritable
        return not asked.prompt.cut and not (asked.prompt.dropped and takes_shots(asked.rendered))


def _losses(item: Item) -> Iterator[str]:
    """What the prompt had to leave out."""
    prompt = item.prompt
    if prompt.dropped and not takes_shots(item.rendered):
        yield "no worked example can stand in front of such rows"
    elif prompt.dropped:
        total = prompt.shots + prompt.dropped
        yield f"{prompt.dropped} of {total} worked examples find no room in the window and are left out"
    if prompt.cut:
        yield f"the prompt loses {prompt.cut:,} tokens at its left end"
