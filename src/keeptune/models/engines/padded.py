"""The slow reference: one padded row per sequence, in the model's own attention. Every causal model runs like this."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from keeptune.batching.deal import Work, plain_work
from keeptune.batching.plan import plan, row_batches
from keeptune.batching.trie import build, row_paths
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded
from keeptune.models.engines.base import ALL, Generation, Scores, Take
from keeptune.models.forward import gather_logprobs, padded_logits
from keeptune.models.generation.beside import answers_together
from keeptune.models.generation.padded import padded_generate
from keeptune.models.loaded import LoadedModel


class PaddedEngine:
    """See `Engine`. Rows share nothing, and the logits of a batch exist all at once."""

    name = "padded"

    def __init__(self) -> None:
        self._together: bool | None = None  # see `answers_together`; None: not looked at yet

    @property
    def reference(self) -> PaddedEngine:
        """This engine."""
        return self

    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """Every row by itself."""
        return plain_work(rows)

    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[TrieBatch]:
        """Rows of similar length together."""
        return row_batches(rows, token_budget, padded=True)

    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[TrieBatch]:
        """Rows of similar length together, by what is fed of them: all tokens but the last."""
        paths = row_paths(rows)
        for group in plan([len(path.ids) for path in paths], token_budget, padded=True):
            yield build([paths[index] for index in group], share=False)

    def logits(self, lm: LoadedModel, batch: TrieBatch) -> Tensor:
        """Of the padded form of ``batch``."""
        return padded_logits(lm, batch)

    def logprobs(self, lm: LoadedModel, batch: TrieBatch) -> Tensor:
        """From all the logits."""
        return gather_logprobs(self.logits(lm, batch), batch)

    def nll(self, lm: LoadedModel, batch: TrieBatch, scale: float = 1.0) -> Tensor:
        """From all the logits."""
        return -(self.logprobs(lm, batch) * batch.weights).sum() * scale

    def score(
        self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int, *, ranks: bool = False, take: Take = ALL
    ) -> Iterator[Scores]:
        """Batch by batch."""
        for made in itertools.islice(self.score_batches(rows, token_budget), take.start, take.stop, take.step):
            batch = made.to(lm.device)
            logits_UV = self.logits(lm, batch)
            logprobs_S = gather_logprobs(logits_UV, batch)
            likeliest_S = logits_UV.argmax(-1)[batch.sources] == batch.labels if ranks else None
            yield Scores(batch.examples, logprobs_S, likeliest_S, len(set(made.examples.tolist())))

    def generate(self, lm: LoadedModel, asked: Generation) -> list[tuple[int, ...]]:
        """By transformers, one prompt at a time where prompts in one batch would change each other's answers."""
        together = len(asked.prompts) > 1 and self.answers_together(lm)
        return padded_generate(
            lm,
            *(asked.prompts, asked.limits, asked.ends, asked.stops, asked.token_budget, asked.progress),
            asked.make_choose(),
            together=together,
        )

    def answers_together(self, lm: LoadedModel) -> bool:
        """As `beside.answers_together`, looked at once."""
        if self._together is None:
            self._together = answers_together(lm)
        return self._together

    def recomputing(self, lm: LoadedModel) -> AbstractContextManager[None]:
        """The model's own attention is in force everywhere."""
        return nullcontext()
