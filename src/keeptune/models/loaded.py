"""Weights, tokenizer and the facts about them: what an engine is given with every call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from keeptune.data.encode.window import prompt_room


def unwrapped(model: nn.Module) -> Any:
    """The transformers model inside peft's wrapper; the model itself where there is none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


@dataclass(eq=False)
class LoadedModel:
    """A language model as it was loaded; `LanguageModel` adds how it runs and how it is adapted."""

    model: nn.Module  # a transformers causal LM or encoder-decoder, or a peft wrapper around one
    tokenizer: Any  # transformers' PreTrainedTokenizerBase
    name: str
    context: int  # tokens that fit
    eos_ids: tuple[int, ...]  # every token that ends a sequence; the tokenizer's own first
    device: torch.device
    dtype: torch.dtype
    unembedded: frozenset[int]  # tokens of the tokenizer that the model does not know
    hash: str | None  # of weights and tokenizer, by content; None once a method changed them: cache nothing about those
    chat: bool  # the tokenizer has a chat template
    base_hash: str | None = None
    encoder_decoder: bool = False  # the encoder reads prompts, the decoder writes answers, each in a window of its own

    def fed(self, answer: int) -> int:
        """Tokens of the window that an answer of ``answer`` tokens takes when it is scored.

        The last one is only predicted; in a decoder of its own, what it starts from stands in its place.
        """
        return answer if self.encoder_decoder else answer - 1

    def prompt_room(self, answer: int) -> int:
        """Tokens that a prompt may have whose answer takes ``answer`` tokens of the window."""
        return prompt_room(self.context, answer, encoder_decoder=self.encoder_decoder)
