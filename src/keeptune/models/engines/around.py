"""What engines around another one have in common: whatever they do not change is the inner engine's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Generic

from torch import Tensor

from keeptune.batching.deal import Work
from keeptune.data.examples import Encoded
from keeptune.models.engines.base import B, Engine
from keeptune.models.loaded import LoadedModel


class EngineAround(Generic[B]):
    """See `Engine`, of which a subclass adds `reference`, `score` and `generate`. Batches are the inner engine's."""

    def __init__(self, inner: Engine[B]) -> None:
        self.inner = inner
        self.name = inner.name

    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """The inner engine's."""
        return self.inner.work(lm, rows)

    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[B]:
        """The inner engine's."""
        return self.inner.train_batches(lm, rows, token_budget)

    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[B]:
        """The inner engine's."""
        return self.inner.score_batches(rows, token_budget)

    def logits(self, lm: LoadedModel, batch: B) -> Tensor:
        """By the inner engine."""
        return self.inner.logits(lm, batch)

    def logprobs(self, lm: LoadedModel, batch: B) -> Tensor:
        """By the inner engine."""
        return self.inner.logprobs(lm, batch)

    def nll(self, lm: LoadedModel, batch: B, scale: float = 1.0) -> Tensor:
        """By the inner engine."""
        return self.inner.nll(lm, batch, scale)

    def recomputing(self, lm: LoadedModel) -> AbstractContextManager[None]:
        """As the inner engine does."""
        return self.inner.recomputing(lm)
