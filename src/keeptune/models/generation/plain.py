"""What all calls of transformers' `generate` share: rows padded on the left, and plain greedy settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from keeptune.models.loaded import unwrapped


def padded_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """[B, L] token ids, and [B, L] 1 where a prompt stands."""
    longest = max(map(len, prompts))
    input_ids_BL = torch.full((len(prompts), longest), pad, dtype=torch.int64)
    mask_BL = torch.zeros_like(input_ids_BL)
    for row, prompt in enumerate(prompts):
        input_ids_BL[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_BL[row, longest - len(prompt) :] = 1
    return input_ids_BL, mask_BL


class PlainGreedy:
    """Within, the model's own generation settings (sampling, penalties, lengths) are out of force."""

    def __init__(self, model: Any, ends: tuple[int, ...]) -> None:
        # peft hands its wrapper's settings on for causal models only, and leaves them there.
        self._model = unwrapped(model)
        self._plain = GenerationConfig(
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
            use_cache=True,
            decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        )

    def __enter__(self) -> None:
        self._own = self._model.generation_config
        self._model.generation_config = self._plain

    def __exit__(self, *error: object) -> None:
        self._model.generation_config = self._own
