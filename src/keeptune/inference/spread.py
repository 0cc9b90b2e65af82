"""Scoring and generation over several processes: the same items, the same answers, in the same order, in each of them.

Scores are the same bits as one process gives, since what is dealt are whole batches, and those are planned alike
wherever they are computed. Generated text may differ where two tokens are equally likely but for rounding: prompts are
dealt, and those that are computed beside a prompt are others than in one process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import safetensors.torch
import torch

from keeptune.batching.deal import Work, deal
from keeptune.data.examples import Encoded
from keeptune.launch.world import World
from keeptune.models.engines.around import EngineAround
from keeptune.models.engines.base import ALL, B, Engine, Generation, Scores, Take
from keeptune.models.generation.choose import Choose, Ints
from keeptune.models.language_model import LanguageModel
from keeptune.models.loaded import LoadedModel
from keeptune.models.progress import Progress


@contextmanager
def spread(lm: LanguageModel, world: World) -> Iterator[None]:
    """Within, what ``lm`` scores and generates is computed by all processes of ``world``, which all ask for the same.

    Each holds the whole model. Every result is handed to all of them.
    """
    if world.size == 1:
        yield
        return
    with lm.through(lambda engine: SpreadEngine(engine, world)):
        yield


class SpreadEngine(EngineAround[B]):
    """See `Engine`. An engine whose requests are dealt to the processes of a world."""

    def __init__(self, inner: Engine[B], world: World) -> None:
        super().__init__(inner)
        self.world = world

    @property
    def reference(self) -> SpreadEngine[B]:
        """The same around the slow reference."""
        return self if self.inner.reference is self.inner else SpreadEngine(self.inner.reference, self.world)

    def score(
        self, lm: LoadedModel, rows: Sequence[Encoded], token_budget: int, *, ranks: bool = False, take: Take = ALL
    ) -> Iterator[Scores]:
        """This process's batches as they are computed, then those of the others."""
        if take != ALL:
            raise ValueError("batches are dealt once")
        mine = []
        for scores in self.inner.score(
            lm, rows, token_budget, ranks=ranks, take=slice(self.world.rank, None, self.world.size)
        ):
            mine.append(scores)
            yield scores
        for rank, packed in enumerate(self.world.gather(_pack(mine))):
            if rank != self.world.rank:
                yield from _unpack(packed, lm.device)

    def generate(self, lm: LoadedModel, asked: Generation) -> list[tuple[int, ...]]:
        """By the inner engine, prompts dealt by their tokens, with those that each may be continued by."""
        tokens = [len(prompt) + limit for prompt, limit in zip(asked.prompts, asked.limits, strict=True)]
        shares = deal(Work(range(len(tokens)), tokens, [0] * len(tokens)), self.world.size)
        mine = shares[self.world.rank]
        found = self.inner.generate(lm, _part(asked, mine)) if mine else []
        texts: dict[int, tuple[int, ...]] = {}
        for share, packed in zip(shares, self.world.gather(json.dumps(found).encode()), strict=True):
            texts |= dict(zip(share, map(tuple, json.loads(packed)), strict=True))
        return [texts[number] for number in range(len(tokens))]


def _part(asked: Generation, numbers: Sequence[int]) -> Generation:
    """Some of the prompts. Random numbers belong to a prompt's number, so they stay what they are."""
    return replace(
        asked,
        prompts=[asked.prompts[number] for number in numbers],
        limits=[asked.limits[number] for number in numbers],
        make_choose=lambda: _renumbered(asked.make_choose(), np.array(numbers)),
        progress=asked.progress and _scaled(asked.progress, len(asked.prompts)),
    )


def _renumbered(choose: Choose, numbers: Ints) -> Choose:
    return lambda logits_BV, prompts_B: choose(logits_BV, numbers[prompts_B])


def _scaled(progress: Progress, total: int) -> Progress:
    """Progress of a share, told as that of all prompts."""
    return lambda done, mine: progress(done * total // mine, total)


def _pack(batches: Sequence[Scores]) -> bytes:
    tensors = {}
    for number, scores in enumerate(batches):
        tensors[f"{number}.examples"] = scores.examples.cpu()
        tensors[f"{number}.logprobs"] = scores.logprobs.cpu()
        tensors[f"{number}.rows"] = torch.tensor(scores.rows)
        if scores.likeliest is not None:
            tensors[f"{number}.likeliest"] = scores.likeliest.cpu()
    return safetensors.torch.save(tensors)


def _unpack(packed: bytes, device: torch.device) -> Iterator[Scores]:
    tensors = safetensors.torch.load(packed)
    for number in range(sum(name.endswith(".rows") for name in tensors)):
        likeliest = tensors.get(f"{number}.likeliest")
        yield Scores(
            tensors[f"{number}.examples"].to(device),
            tensors[f"{number}.logprobs"].to(device),
            None if likeliest is None else likeliest.to(device),
            int(tensors[f"{number}.rows"]),
        )
