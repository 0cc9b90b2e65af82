"""The fast engine: token tries in one flat row, what sequences share computed once, and the head in chunks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from keeptune.batching.deal import Work, plain_work, trie_work
from keeptune.batching.plan import micro_batches, plan_tries, row_batches
from keeptune.batching.trie import Path, build, common_prefixes, prompt_batch, row_paths
from keeptune.batching.types import TrieBatch
from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.models.attention import flat_attention
from keeptune.models.cache import Capture, Prefix, PromptCache
from keeptune.models.engines.base import ALL, Generation, Scores, Take
from keeptune.models.engines.dropout import DropoutWatch
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.forward import flat_logits, gather_logprobs, hidden_states
from keeptune.models.generation.flat import flat_generate
from keeptune.models.head import Head
from keeptune.models.loaded import LoadedModel

log = logging.getLogger(__name__)

KEPT_PREFIX = 32  # tokens that all rows must have in common for their keys and values to be kept


class TrieEngine:
    """See `Engine`. For causal transformers that take attention from transformers' registry (see `choose_engine`).

    Args:
        reference: what is used where this engine cannot generate.
        plain_head: `Head` makes the model's own logits, so that they can be made in chunks.
        plain_last_layer: the last layer may be computed at kept rows alone (see `last_layer_at`).
    """

    name = "flat"

    def __init__(self, reference: PaddedEngine, *, plain_head: bool, plain_last_layer: bool) -> None:
        self.reference = reference
        self.plain_head, self.plain_last_layer = plain_head, plain_last_layer
        self.dropout = DropoutWatch()

    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """Shared prefixes count once, unless each row needs dropout of its own."""
        return trie_work(rows) if self.dropout.shares(lm) else plain_work(rows)

    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[TrieBatch]:
        """Tries, or rows that share nothing where each needs dropout of its own."""
        if self.dropout.shares(lm):
            return micro_batches(rows, token_budget)
        return row_batches(rows, token_budget)

    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[TrieBatch]:
        """Tries."""
        return map(build, plan_tries(row_paths(rows), token_budget))

    def logits(self, lm: LoadedModel, batch: TrieBatch) -> Tensor:
        """By one flat row."""
        return flat_logits(lm, batch, cut=self.plain_last_layer)

    def logprobs(self, lm: LoadedModel, batch: TrieBatch) -> Tensor:
        """By the head in chunks where no gradient is wanted, else from the logits."""
        head = self._head(lm)
        if head is None or torch.is_grad_enabled():
            return gather_logprobs(self.logits(lm, batch), batch)
        return head.logprobs(self._hidden(lm, head, batch), batch)

    def nll(self, lm: LoadedModel, batch: TrieBatch, scale: float = 1.0) -> Tensor:
        """By the head in chunks, whose gradient is formed at once."""
        head = self._head(lm)
        if head is None:
            return -(gather_logprobs(self.logits(lm, batch), batch) * batch.weights).sum() * scale
        return head.nll(self._hidden(lm, head, batch), batch, scale)

    def score(
        self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int, *, ranks: bool = False, take: Take = ALL
    ) -> Iterator[Scores]:
        """Batch by batch; what all rows have in common is computed once for all batches."""
        paths = row_paths(rows)
        prefix = self._kept_prefix(lm, paths)
        rest = [path.behind(prefix.length) for path in paths] if prefix else paths
        for group in plan_tries(rest, token_budget)[take]:
            batch = build(group).to(lm.device)
            logprobs_S, likeliest_S = self._scored(lm, batch, prefix, ranks)
            yield Scores(batch.examples, logprobs_S, likeliest_S, len(group))

    def generate(self, lm: LoadedModel, asked: Generation) -> list[tuple[int, ...]]:
        """From a cache of keys and values, or by the reference where there is no caching them."""
        try:
            return flat_generate(
                lm,
                *(asked.prompts, asked.limits, asked.ends, asked.stops, asked.token_budget, asked.progress),
                asked.make_choose(),
                cut=self.plain_last_layer,
            )
        except ModelError as reason:
            log.warning("%s generates padded, which is slower: %s", lm.name, reason)
        return self.reference.generate(lm, asked)

    def recomputing(self, lm: LoadedModel) -> AbstractContextManager[None]:
        """Backward runs outside of `flat_logits`, and has to attend as the forward did."""
        return flat_attention(lm.model)

    def _head(self, lm: LoadedModel) -> Head | None:
        """The head for chunked work; found anew every time, since methods wrap and unwrap the model."""
        return Head.of(lm.model) if self.plain_head else None

    def _hidden(
        self, lm: LoadedModel, head: Head, batch: TrieBatch, cache: PromptCache | None = None, prefix: int = 0
    ) -> Tensor:
        return hidden_states(lm, head, batch, cache, prefix, cut=self.plain_last_layer)

    def _scored(
        self, lm: LoadedModel, batch: TrieBatch, prefix: Prefix | None, ranks: bool
    ) -> tuple[Tensor, Tensor | None]:
        """[S] log-probabilities of the targets behind ``prefix``; where asked, [S] whether each is the likeliest."""
        head = self._head(lm)
        if head is None:  # then no prefix is kept
            logits_UV = self.logits(lm, batch)
            likeliest_S = logits_UV.argmax(-1)[batch.sources] == batch.labels if ranks else None
            return gather_logprobs(logits_UV, batch), likeliest_S
        hidden_UD = self._hidden(lm, head, batch, prefix, prefix.length if prefix else 0)
        return head.ranks(hidden_UD, batch) if ranks else (head.logprobs(hidden_UD, batch), None)

    def _kept_prefix(self, lm: LoadedModel, paths: Sequence[Path]) -> Prefix | None:
        """Keys and values of what all of ``paths`` begin with, computed once; None where that is short.

        The last token that all share is left to the batches where it predicts a target.
        """
        head = self._head(lm)
        if len(paths) < 2 or head is None:
            return None
        ends = [choose(paths, key=lambda path: path.key) for choose in (min, max)]  # what these share, all share
        length = min(common_prefixes(ends)[1], *(path.first for path in paths))
        if length < KEPT_PREFIX:
            return None
        capture = Capture()
        batch, _ = prompt_batch([paths[0].ids[:length]])
        self._hidden(lm, head, batch.to(lm.device), capture)
        return Prefix(length, capture.layers)
