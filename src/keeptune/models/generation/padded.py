"""Generation through transformers' own `generate`: for models that do not run flat, and the slow reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from keeptune.batching.pairs import padded_right
from keeptune.batching.plan import plan
from keeptune.models.generation.choose import Choose, likeliest
from keeptune.models.generation.plain import PlainGreedy, padded_left
from keeptune.models.generation.stops import StopTexts
from keeptune.models.loaded import LoadedModel
from keeptune.models.progress import Progress, default_budget

WIDER = 4  # a step feeds one token per row: batches have to be wider than where all tokens are fed at once


def padded_generate(
    lm: LoadedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: tuple[int, ...],
    stops: StopTexts,
    token_budget: int | None = None,
    progress: Progress | None = None,
    choose: Choose = likeliest,
    *,
    together: bool = True,
    decoder_start: Sequence[int] = (),
) -> list[tuple[int, ...]]:
    """New tokens of every prompt, an end token included, from padded batches.

    Prompts of similar length go together, unless prompts have to be asked one by one (``together`` is False, see
    `beside`); a row that is done waits for the others of its batch. ``decoder_start``: what the decoder of an
    encoder-decoder starts from; none for other models.
    """
    results: list[tuple[int, ...]] = [()] * len(prompts)
    done = 0
    lengths = [len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)]
    groups = plan(lengths, token_budget or WIDER * default_budget(lm.device), padded=True)
    if not together:
        groups = [[index] for group in groups for index in group]
    for group in groups:
        processors = LogitsProcessorList([] if choose is likeliest else [_Chosen(choose, group)])
        inputs = _inputs([prompts[i] for i in group], ends[0], decoder_start)
        ended = _Ended([limits[i] for i in group], ends, stops, inputs, lm.device)
        new = _generate_batch(lm, inputs, processors, ended)
        for index, ids in zip(group, new, strict=True):
            results[index] = ids
        done += len(group)
        if progress is not None:
            progress(done, len(prompts))
    return results


def _inputs(prompts: Sequence[Sequence[int]], pad: int, decoder_start: Sequence[int]) -> dict[str, Tensor]:
    """What transformers' `generate` is given; an encoder's positions count from the left, so padding goes right."""
    if not decoder_start:
        input_ids_BL, mask_BL = padded_left(prompts, pad)
        return {"input_ids": input_ids_BL, "attention_mask": mask_BL}
    input_ids_BL, mask_BL = padded_right(prompts)
    start_BN = torch.tensor(decoder_start).expand(len(prompts), -1)
    return {"input_ids": input_ids_BL, "attention_mask": mask_BL, "decoder_input_ids": start_BN}


def _generate_batch(
    lm: LoadedModel, inputs: Mapping[str, Tensor], processors: LogitsProcessorList, ended: _Ended
) -> list[tuple[int, ...]]:
    """New tokens of a batch of prompts."""
    model: Any = lm.model
    with PlainGreedy(model, ended.ends):
        output_BL: Tensor = model.generate(
            **{name: tensor.to(lm.device) for name, tensor in inputs.items()},
            max_new_tokens=max(ended.limits),
            logits_processor=processors,
            stopping_criteria=StoppingCriteriaList([ended]),
        )
    new_BN = output_BL[:, ended.prompt_length :].tolist()
    return [tuple(ids[:length]) for ids, length in zip(new_BN, ended.lengths_B.tolist(), strict=True)]


class _Chosen(LogitsProcessor):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Leaves greedy decoding one token to find in every row: the one that ``choose`` names."""

    def __init__(self, choose: Choose, prompts: Sequence[int]) -> None:
        self._choose = choose
        self._prompts_B = np.array(prompts)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V] 0 at the chosen token, -inf elsewhere."""
        tokens_B = torch.from_numpy(self._choose(scores, self._prompts_B)).to(scores.device)
        return torch.full_like(scores, -math.inf).scatter_(1, tokens_B[:, None], 0.0)


class _Ended(StoppingCriteria):  # type: ignore[misc]
    """Ends a row at an end token, at its limit, or once a stop string stands in its text; notes its length then."""

    def __init__(
        self,
        limits: Sequence[int],
        ends: tuple[int, ...],
        stops: StopTexts,
        inputs: Mapping[str, Tensor],
        device: torch.device,
    ) -> None:
        self.limits = limits
        self.ends = ends
        self.prompt_length = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]  # L
        self.lengths_B = torch.zeros(len(limits), dtype=torch.int64, device=device)  # new tokens of rows that are done
        self._limits_B = torch.tensor(limits, device=device)
        self._ends = torch.tensor(ends, device=device)
        self._stops = stops

    def __call__(self, input_ids: Tensor, scores: Tensor, **unused: Any) -> Tensor:
        """[B] bool, true where the row is done."""
        new = input_ids.shape[1] - self.prompt_length
        done_B = torch.isin(input_ids[:, -1], self._ends) | (self._limits_B <= new)
        if self._stops:
            start = max(self.prompt_length, input_ids.shape[1] - self._stops.tail)
            found = self._stops.found(input_ids[:, start:].tolist())
            done_B |= torch.tensor(found, dtype=torch.bool, device=done_B.device)
        self.lengths_B = torch.where(done_B & (self.lengths_B == 0), new, self.lengths_B)
        return done_B
