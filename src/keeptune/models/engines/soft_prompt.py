"""Any engine, with learned tokens in front of every row: prompt learning as plain tokens of the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from typing_extensions import override

from keeptune.batching.deal import Work
from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded
from keeptune.models.engines.around import EngineAround
from keeptune.models.engines.base import ALL, B, Engine, Generation, Scores, Take
from keeptune.models.loaded import LoadedModel


class SoftPromptEngine(EngineAround[B]):
    """See `Engine`. Virtual tokens are ids behind the vocabulary, which the adapted model embeds.

    So they are a prefix like any other: all rows share it, and an engine that shares prefixes computes it once.
    """

    def __init__(self, inner: Engine[B], virtual: Sequence[int]) -> None:
        super().__init__(inner)
        self.virtual = tuple(virtual)

    @property
    def reference(self) -> SoftPromptEngine[B]:
        """The same in front of the slow reference."""
        return self if self.inner.reference is self.inner else SoftPromptEngine(self.inner.reference, self.virtual)

    @override
    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """Of the longer rows."""
        return self.inner.work(lm, [self._longer(row, lm) for row in rows])

    @override
    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[B]:
        """Of the longer rows."""
        return self.inner.train_batches(lm, [self._longer(row, lm) for row in rows], token_budget)

    @override
    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[B]:
        """Of the longer rows."""
        return self.inner.score_batches([self._longer(row) for row in rows], token_budget)

    def score(
        self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int, *, ranks: bool = False, take: Take = ALL
    ) -> Iterator[Scores]:
        """Of the longer rows, whose targets are the same."""
        return self.inner.score(lm, [self._longer(row, lm) for row in rows], token_budget, ranks=ranks, take=take)

    def generate(self, lm: LoadedModel, asked: Generation) -> list[tuple[int, ...]]:
        """Behind the longer prompts."""
        prompts = [(*self.virtual, *prompt) for prompt in asked.prompts]
        for prompt, limit in zip(prompts, asked.limits, strict=True):
            self._check(lm, len(prompt), limit, "a prompt and its answer")
        return self.inner.generate(lm, replace(asked, prompts=prompts))

    def _longer(self, row: Encoded, lm: LoadedModel | None = None) -> Encoded:
        """The row behind the virtual tokens; a first token, which the base cannot predict, is not predicted here."""
        if lm is not None:
            self._check(lm, len(self.virtual) + len(row.prompt_ids), lm.fed(len(row.completion_ids)), "a row")
        if row.prompt_ids:
            return replace(row, prompt_ids=(*self.virtual, *row.prompt_ids))
        first, rest = row.completion_ids[:1], row.completion_ids[1:]
        gaps = tuple((start - 1, stop - 1) for start, stop in row.gaps)
        return Encoded(row.id, (*self.virtual, *first), rest, gaps)

    def _check(self, lm: LoadedModel, prompt: int, answer: int, what: str) -> None:
        if prompt > lm.prompt_room(answer):
            raise DataError(
                f"{what} of {prompt + answer - len(self.virtual)} tokens leaves no room for {len(self.virtual)} virtual"
                f" ones in a window of {lm.context}",
                remedy="learn fewer virtual tokens, or shorten the rows",
            )
