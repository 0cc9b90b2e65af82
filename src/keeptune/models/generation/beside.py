"""Whether prompts of different length may be answered in one batch that is padded on the left.

Attention is told what is padding. Some recurrent models are not, or mix up the states of their rows: what they answer
then depends on the prompts beside, and they have to be asked one by one.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from keeptune.core.errors import ModelError
from keeptune.models.causal import draw_tokens, same_logits
from keeptune.models.generation.plain import PlainGreedy, padded_left
from keeptune.models.loaded import LoadedModel

log = logging.getLogger(__name__)

STEPS = 4  # new tokens of the check


def answers_together(lm: LoadedModel) -> bool:
    """Whether prompts may share a batch; the model is in evaluation mode and builds no graph.

    Raises:
        ModelError: even alone, token after token, the model predicts something else than for the whole text at once.
    """
    draw = draw_tokens(lm, 30 + STEPS)
    prompts, forced = [draw[:7], draw[7:21], draw[21:30]], draw[30:]
    expected = [_whole(lm, [*prompt, *forced[:-1]]) for prompt in prompts]
    stepwise = _stepwise(lm, prompts, forced)
    if all(same_logits(lm, found, right) for found, right in zip(stepwise, expected, strict=True)):
        return True
    alone = [_stepwise(lm, [prompt], forced)[0] for prompt in prompts]
    if all(same_logits(lm, found, right) for found, right in zip(alone, expected, strict=True)):
        log.warning("%s answers prompts one by one: beside others its answers would change", lm.name)
        return False
    raise ModelError(
        "generating token by token, the model predicts something else than for the whole text at once",
        where=lm.name,
        remedy="score it on tasks with choices or on text, or use another model",
    )


def _whole(lm: LoadedModel, ids: list[int]) -> Tensor:
    """[STEPS, V] logits behind the last tokens of one row, without padding and without a cache."""
    input_ids = torch.tensor([ids], device=lm.device)
    output = lm.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False)
    logits: Tensor = output.logits[0, -STEPS:].float()
    return logits


def _stepwise(lm: LoadedModel, prompts: list[list[int]], forced: list[int]) -> Tensor:
    """[B, STEPS, V] the same logits as generation sees them, whose tokens are ``forced``."""
    model: Any = lm.model
    input_ids_BL, mask_BL = padded_left(prompts, lm.eos_ids[0])
    with PlainGreedy(model, lm.eos_ids):
        output = model.generate(
            input_ids=input_ids_BL.to(lm.device),
            attention_mask=mask_BL.to(lm.device),
            max_new_tokens=STEPS,
            min_new_tokens=STEPS,
            logits_processor=LogitsProcessorList([_Forced(forced, input_ids_BL.shape[1])]),
            output_logits=True,
            return_dict_in_generate=True,
        )
    return torch.stack(output.logits, 1).float()


class _Forced(LogitsProcessor):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Leaves one token to find in every step."""

    def __init__(self, tokens: list[int], start: int) -> None:
        self._tokens, self._start = tokens, start

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[B, V] 0 at the step's token, -inf elsewhere."""
        forced = torch.full_like(scores, -math.inf)
        forced[:, self._tokens[input_ids.shape[1] - self._start]] = 0.0
        return forced
