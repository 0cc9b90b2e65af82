"""The protocol of an engine, and what is handed to it and comes back. U kept rows, S targets, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from typing_extensions import TypeVar

from keeptune.batching.deal import Work
from keeptune.batching.types import Batch
from keeptune.data.examples import Encoded
from keeptune.models.generation.choose import Choose
from keeptune.models.generation.stops import StopTexts
from keeptune.models.loaded import LoadedModel
from keeptune.models.progress import Progress

Take = slice  # which of a sequence of batches: slice(rank, None, ranks) are those of one process
ALL = slice(None)

B = TypeVar("B", bound=Batch, default=Any)  # the layout of an engine's batches; callers hand back what they were given


@dataclass(frozen=True)
class Scores:
    """What a model says of the targets of some rows."""

    examples: Tensor  # [S] int64: the row that the target belongs to
    logprobs: Tensor  # [S] float32, nats
    likeliest: Tensor | None  # [S] bool: no other token is likelier; None where it was not asked for
    rows: int  # how many rows these are, with all their targets


@dataclass(frozen=True)
class Generation:
    """Prompts to be continued. Every one of them is known to fit the context."""

    prompts: Sequence[Sequence[int]]
    limits: Sequence[int]  # for every prompt, new tokens at most
    ends: tuple[int, ...]  # tokens that end a completion
    stops: StopTexts
    make_choose: Callable[[], Choose]  # a fresh one for every attempt: it may have drawn random numbers already
    token_budget: int | None = None  # prompt and new tokens held at once; None: what suits the device
    progress: Progress | None = None


class Engine(Protocol[B]):
    """One way of running a language model. Everybody else asks it and never how it does it.

    An engine holds no weights: it is given the model with every call, so that it also serves the base inside an
    adapted model. Rows come as prompt and completion and leave as batches that are meant for the engine that made
    them; what a batch looks like inside is its own affair.

    Nothing here says that prompt and completion are one text, that prefixes are shared, or how attention is masked.
    """

    # "flat", "padded" or "encoder-decoder": part of the keys of what is kept on disk, since engines differ in rounding.
    name: str

    @property
    def reference(self) -> Engine[B]:
        """The slow engine whose results are those of this one up to rounding; itself where it is that one."""
        ...

    def work(self, lm: LoadedModel, rows: Sequence[Encoded]) -> Work:
        """What `train_batches` of ``rows`` will compute, by which rows are dealt to several processes."""
        ...

    def train_batches(self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int) -> list[B]:
        """Micro-batches for a loss, in the mode (training or evaluation) that the model is in; on the CPU.

        Equal targets may stand there once, with their weights added up.
        """
        ...

    def score_batches(self, rows: Sequence[Encoded], token_budget: int) -> Iterator[B]:
        """Batches in which every target stands by itself: ``examples`` number the rows; on the CPU."""
        ...

    def logits(self, lm: LoadedModel, batch: B) -> Tensor:
        """[U, V] next-token logits at the kept rows of ``batch``, in the model's dtype."""
        ...

    def logprobs(self, lm: LoadedModel, batch: B) -> Tensor:
        """[S] float32 log-probability (nats) of every target of ``batch``."""
        ...

    def nll(self, lm: LoadedModel, batch: B, scale: float = 1.0) -> Tensor:
        """Weighted negative log-likelihood of the targets of ``batch``, times ``scale``: float32 scalar."""
        ...

    def score(
        self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int, *, ranks: bool = False, take: Take = ALL
    ) -> Iterator[Scores]:
        """Every target of ``rows`` once, batch by batch; the model is in evaluation mode and builds no graph.

        Of the batches, which are the same whoever asks, those that ``take`` lets through.
        """
        ...

    def generate(self, lm: LoadedModel, asked: Generation) -> list[tuple[int, ...]]:
        """New tokens of every prompt, an end token included; the model is in evaluation mode and builds no graph."""
        ...

    def recomputing(self, lm: LoadedModel) -> AbstractContextManager[None]:
        """Within, layers that backward computes again (gradient checkpointing) run as they did in `logits`."""
        ...
