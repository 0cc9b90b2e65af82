"""Greedy generation through transformers' own `generate`: for models that do not run flat, and the slow reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from keeptune.batching.plan import plan
from keeptune.inference.score import Progress, default_budget
from keeptune.inference.stops import StopTexts
from keeptune.models.language_model import LanguageModel

WIDER = 4  # a step feeds one token per row: batches have to be wider than where all tokens are fed at once


def padded_generate(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: tuple[int, ...],
    stops: StopTexts,
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[int, ...]]:
    """`generate.generate`, with limits per prompt, on batches of similar length that are padded on the left.

    A row that is done waits for the others of its batch.
    """
    results: list[tuple[int, ...]] = [()] * len(prompts)
    done = 0
    lengths = [len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)]
    for group in plan(lengths, token_budget or WIDER * default_budget(lm), padded=True):
        new_BN = _generate_batch(lm, [prompts[i] for i in group], [limits[i] for i in group], ends, stops)
        for index, ids in zip(group, new_BN.tolist(), strict=True):
            results[index] = until(ids[: limits[index]], ends)
        done += len(group)
        if progress is not None:
            progress(done, len(prompts))
    return results


def until(ids: Sequence[int], ends: tuple[int, ...]) -> tuple[int, ...]:
    """The ids in front of the first end token."""
    cut = next((position for position, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[:cut])


def _generate_batch(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: tuple[int, ...],
    stops: StopTexts,
) -> Tensor:
    """[B, N] new tokens of prompts that are padded on the left to L; rows that ended early are filled with ends[0]."""
    longest = max(map(len, prompts))
    input_ids_BL = torch.full((len(prompts), longest), ends[0], dtype=torch.int64)
    mask_BL = torch.zeros_like(input_ids_BL)
    for row, prompt in enumerate(prompts):
        input_ids_BL[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BL[row, longest - len(prompt) :] = 1
    model: Any = lm.model
    criteria = StoppingCriteriaList([_Ended(torch.tensor(limits, device=lm.device), stops, longest)])
    with _PlainGreedy(model, ends):
        output_BL: Tensor = model.generate(
            input_ids=input_ids_BL.to(lm.device),
            attention_mask=mask_BL.to(lm.device),
            max_new_tokens=max(limits),
            stopping_criteria=criteria,
        )
    return output_BL[:, longest:].cpu()


class _PlainGreedy:
    """Within, the model's own generation settings (sampling, penalties, lengths) are out of force."""

    def __init__(self, model: Any, ends: tuple[int, ...]) -> None:
        self._model = model
        self._plain = GenerationConfig(do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0], use_cache=True)

    def __enter__(self) -> None:
        self._own = self._model.generation_config
        self._model.generation_config = self._plain

    def __exit__(self, *error: object) -> None:
        self._model.generation_config = self._own


class _Ended(StoppingCriteria):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Ends a row at its limit, or once one of its stop strings stands in the text generated so far."""

    def __init__(self, limits_B: Tensor, stops: StopTexts, prompt_length: int) -> None:
        self._limits_B = limits_B
        self._stops = stops
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **unused: Any) -> Tensor:
        """[B] bool, true where the row is done."""
        done = self._limits_B <= input_ids.shape[1] - self._prompt_length
        if self._stops:
            start = max(self._prompt_length, input_ids.shape[1] - self._stops.tail)
            found = self._stops.found(input_ids[:, start:].tolist())
            done = done | torch.tensor(found, dtype=torch.bool, device=done.device)
        return done
