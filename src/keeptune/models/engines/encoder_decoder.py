"""Engines for encoder-decoders: the encoder reads prompts, the decoder writes answers.

P prompts of E tokens, B answers of D tokens, U kept states, S targets, V vocabulary, W width.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from typing_extensions import override

from keeptune.batching.deal import Work, pair_work, plain_work
from keeptune.batching.pairs import pair_batch, plan_pairs
from keeptune.batching.types import PairBatch
from keeptune.core.errors import ModelError
from keeptune.data.encode.texts import frame_ids
from keeptune.data.examples import Encoded
from keeptune.models.causal import draw_tokens
from keeptune.models.engines.base import ALL, Generation, Scores, Take
from keeptune.models.engines.dropout import DropoutWatch
from keeptune.models.forward import gather_logprobs
from keeptune.models.generation.padded import padded_generate
from keeptune.models.head import Head
from keeptune.models.loaded import LoadedModel, unwrapped


class PairReference:
    """See `Engine`. The slow reference: one prompt and one answer per row, through the model's own forward.

    Args:
        start: the tokens that the decoder starts from.
    """

    name = "padded"

    def __init__(self, start: Sequence[int]) -> None:
        self.start = tuple(start)

    @property
    def reference(self) -> PairReference:
        """This engine."""
        return self

    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """Every row by itself."""
        return plain_work(rows)

    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[PairBatch]:
        """Rows of like lengths together."""
        return list(self._batches(rows, token_budget, share=False))

    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[PairBatch]:
        """Rows of like lengths together."""
        return self._batches(rows, token_budget, share=False)

    def _batches(self, rows: Sequence[Encoded], token_budget: int, *, share: bool) -> Iterator[PairBatch]:
        for group in plan_pairs(rows, token_budget, share=share):
            yield pair_batch([rows[index] for index in group], group, self.start, share=share)

    def logits(self, lm: LoadedModel, batch: PairBatch) -> Tensor:
        """By the model's own forward, every answer behind its own pass of the encoder."""
        output = lm.model(
            input_ids=batch.input_ids[batch.prompts],
            attention_mask=batch.attention_mask[batch.prompts],
            decoder_input_ids=batch.decoder_input_ids,
            use_cache=False,
        )
        kept: Tensor = output.logits.flatten(0, 1)[batch.rows]
        return kept

    def logprobs(self, lm: LoadedModel, batch: PairBatch) -> Tensor:
        """From all the logits."""
        return gather_logprobs(self.logits(lm, batch), batch)

    def nll(self, lm: LoadedModel, batch: PairBatch, scale: float = 1.0) -> Tensor:
        """From all the logits."""
        return -(self.logprobs(lm, batch) * batch.weights).sum() * scale

    def score(
        self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int, *, ranks: bool = False, take: Take = ALL
    ) -> Iterator[Scores]:
        """Batch by batch."""
        for made in itertools.islice(self.score_batches(rows, token_budget), take.start, take.stop, take.step):
            logprobs_S, likeliest_S = self._ranked(lm, made.to(lm.device), ranks)
            yield Scores(made.examples.to(lm.device), logprobs_S, likeliest_S, len(made.prompts))

    def _ranked(self, lm: LoadedModel, batch: PairBatch, ranks: bool) -> tuple[Tensor, Tensor | None]:
        logits_UV = self.logits(lm, batch)
        likeliest_S = logits_UV.argmax(-1)[batch.sources] == batch.labels if ranks else None
        return gather_logprobs(logits_UV, batch), likeliest_S

    def generate(self, lm: LoadedModel, asked: Generation) -> list[tuple[int, ...]]:
        """By transformers, whose encoder reads every prompt once."""
        return padded_generate(
            lm,
            *(asked.prompts, asked.limits, asked.ends, asked.stops, asked.token_budget, asked.progress),
            asked.make_choose(),
            decoder_start=self.start,
        )

    def recomputing(self, lm: LoadedModel) -> AbstractContextManager[None]:
        """The model's own attention is in force everywhere."""
        return nullcontext()


class EncoderDecoderEngine(PairReference):
    """See `Engine`. A prompt is read once for all its answers, and the head sees supervised states alone, in chunks."""

    name = "encoder-decoder"

    def __init__(self, start: Sequence[int]) -> None:
        super().__init__(start)
        self.dropout = DropoutWatch()

    @property
    def reference(self) -> PairReference:
        """The slow one."""
        return PairReference(self.start)

    @override
    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """Equal prompts count once, unless each row needs dropout of its own."""
        return pair_work(rows) if self.dropout.shares(lm) else plain_work(rows)

    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[PairBatch]:
        """Prompts that several rows share stand there once, unless each row needs dropout of its own."""
        return list(self._batches(rows, token_budget, share=self.dropout.shares(lm)))

    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[PairBatch]:
        """Prompts that several rows share stand there once."""
        return self._batches(rows, token_budget, share=True)

    def logits(self, lm: LoadedModel, batch: PairBatch) -> Tensor:
        """By the head alone."""
        head = _head(lm)
        return head.logits(decoded(lm, head, batch))

    def logprobs(self, lm: LoadedModel, batch: PairBatch) -> Tensor:
        """By the head in chunks where no gradient is wanted, else from the logits."""
        if torch.is_grad_enabled():
            return gather_logprobs(self.logits(lm, batch), batch)
        head = _head(lm)
        return head.logprobs(decoded(lm, head, batch), batch)

    def nll(self, lm: LoadedModel, batch: PairBatch, scale: float = 1.0) -> Tensor:
        """By the head in chunks, whose gradient is formed at once."""
        head = _head(lm)
        return head.nll(decoded(lm, head, batch), batch, scale)

    def _ranked(self, lm: LoadedModel, batch: PairBatch, ranks: bool) -> tuple[Tensor, Tensor | None]:
        head = _head(lm)
        states_UW = decoded(lm, head, batch)
        return head.ranks(states_UW, batch) if ranks else (head.logprobs(states_UW, batch), None)


def decoded(lm: LoadedModel, head: Head, batch: PairBatch) -> Tensor:
    """[U, W] what the head sees at ``batch.rows``."""
    encoder = unwrapped(lm.model).get_encoder()
    read_PEW = encoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    output = head.decoder(
        input_ids=batch.decoder_input_ids,
        encoder_hidden_states=read_PEW[batch.prompts],
        encoder_attention_mask=batch.attention_mask[batch.prompts],
        use_cache=False,
    )
    states_UW: Tensor = output.last_hidden_state.flatten(0, 1).index_select(0, batch.rows)
    return states_UW


def decoder_start(lm: LoadedModel) -> tuple[int, ...]:
    """What the decoder starts from: its start token, and what stands before every text that it was trained to write.

    Raises:
        ModelError: the model does not say.
    """
    config = unwrapped(lm.model).config
    first = config.decoder_start_token_id
    if first is None:
        raise ModelError(
            "config.json does not say what the decoder starts from",
            where=lm.name,
            remedy='add "decoder_start_token_id": for T5 it is the padding token, for BART </s>',
        )
    forced = getattr(getattr(lm.model, "generation_config", None), "forced_bos_token_id", None)
    before = frame_ids(lm.tokenizer)[0] if forced is None else (int(forced),)
    return (int(first), *before)


def probe_pairs(lm: LoadedModel, start: Sequence[int]) -> PairBatch:
    """Two prompts of different length, one of them with two answers, drawn from a fixed seed."""
    draw = draw_tokens(lm, 64)
    asked = [(0, 20, 20, 25), (0, 20, 25, 28), (28, 60, 60, 64)]
    rows = [Encoded("", tuple(draw[a:b]), tuple(draw[c:d])) for a, b, c, d in asked]
    return pair_batch(rows, range(len(rows)), start, share=True)


def _head(lm: LoadedModel) -> Head:
    """The head; found anew every time, since methods wrap and unwrap the model."""
    head = Head.of(lm.model)
    if head is None:
        raise ModelError("the model has lost its language-model head", where=lm.name)
    return head
