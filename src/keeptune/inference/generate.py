"""Greedy generation, batched by length, through transformers' own `generate` and the model's own attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from keeptune.batching.plan import plan
from keeptune.inference.score import Progress, default_budget, evaluating
from keeptune.models.language_model import LanguageModel

WIDER = 4  # a step feeds one token per row: batches have to be wider than where all tokens are fed at once


def generate(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    end_ids: Sequence[int] = (),
    stop: Sequence[str] = (),
    token_budget: int | None = None,
    progress: Progress | None = None,
) -> list[tuple[int, ...]]:
    """The most likely next token, again and again, until an end token, a stop string or ``max_new_tokens``.

    Args:
        lm: the model; its settings for sampling, penalties and forced tokens are not used.
        prompts: token ids, BOS included where the model wants one.
        max_new_tokens: at most so many tokens per prompt.
        end_ids: further tokens that end a completion, beside the model's own ``eos_ids``.
        stop: a completion also ends once its text contains one of these.
        token_budget: prompt and new tokens of a batch, padding included; by default what suits the device.
        progress: called after every batch.

    Returns:
        New token ids in the order of the prompts, without the end token; a stop string may be followed by the rest
        of its last token.

    Raises:
        ValueError: a prompt is empty or leaves no room for ``max_new_tokens`` in the context.
    """
    for prompt in prompts:
        if not prompt or len(prompt) + max_new_tokens > lm.context:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens and {max_new_tokens} new ones do not fit {lm.context} tokens"
            )
    ends = tuple(dict.fromkeys((*lm.eos_ids, *end_ids)))
    results: list[tuple[int, ...]] = [()] * len(prompts)
    done = 0
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    with evaluating(lm):
        for group in plan(lengths, token_budget or WIDER * default_budget(lm), padded=True):
            new_BN = _generate_batch(lm, [prompts[index] for index in group], max_new_tokens, ends, stop)
            for index, ids in zip(group, new_BN.tolist(), strict=True):
                results[index] = _until(ids, ends)
            done += len(group)
            if progress is not None:
                progress(done, len(prompts))
    return results


def _generate_batch(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: tuple[int, ...], stop: Sequence[str]
) -> Tensor:
    """[B, N] new tokens of prompts that are padded on the left to L; rows that ended early are filled with ends[0]."""
    longest = max(map(len, prompts))
    input_ids_BL = torch.full((len(prompts), longest), ends[0], dtype=torch.int64)
    mask_BL = torch.zeros_like(input_ids_BL)
    for row, prompt in enumerate(prompts):
        input_ids_BL[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BL[row, longest - len(prompt) :] = 1
    model: Any = lm.model
    criteria = StoppingCriteriaList([StopText(lm.tokenizer, stop, longest)] if stop else [])
    with _PlainGreedy(model, ends):
        output_BL: Tensor = model.generate(
            input_ids=input_ids_BL.to(lm.device),
            attention_mask=mask_BL.to(lm.device),
            max_new_tokens=max_new_tokens,
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


class StopText(StoppingCriteria):  # type: ignore[misc]  # transformers is not followed by the type checker
    """Ends a row once one of its stop strings stands in the text generated so far.

    Only the last tokens are decoded at every step: a stop string of n bytes spans at most n + 1 tokens.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], prompt_length: int) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._prompt_length = prompt_length
        self._tail = max(len(text.encode()) for text in stop) + 1

    def __call__(self, input_ids: Tensor, scores: Tensor, **unused: Any) -> Tensor:
        """[B] bool, true where the row is done."""
        start = max(self._prompt_length, input_ids.shape[1] - self._tail)
        tails = self._tokenizer.batch_decode(input_ids[:, start:], skip_special_tokens=False)
        found = [any(text in tail for text in self._stop) for tail in tails]
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)


def _until(ids: Sequence[int], ends: tuple[int, ...]) -> tuple[int, ...]:
    """The ids in front of the first end token."""
    cut = next((position for position, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[:cut])
