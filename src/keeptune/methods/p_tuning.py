"""P-tuning: virtual tokens that a small network makes, which is what trains (Liu et al. 2021, arXiv 2103.10385)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.errors import ModelError
from keeptune.methods.base import METHODS, MethodConfig
from keeptune.methods.prompt_tuning import PromptTuning, PromptTuningConfig, put_in_front

ENCODER = "adapter_encoder.safetensors"  # beside peft's files, which hold what the network makes


@METHODS.register("p-tuning")
class PTuningConfig(MethodConfig):
    """P-tuning: a small network makes the embeddings of virtual tokens."""

    weight_deltas: ClassVar[bool] = False
    same_input: ClassVar[bool] = False
    dose: ClassVar[str] = "tokens"

    tokens: int = Field(20, ge=1)
    """Virtual tokens in front of every prompt."""
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)

    @override
    def build(self) -> PTuning:
        return PTuning(self)


class Encoded(nn.Module):
    """The vectors that peft's prompt encoder makes of its own embeddings by a network of three layers."""

    def __init__(self, tokens: int, width: int) -> None:
        from peft import PromptEncoder, PromptEncoderConfig

        super().__init__()
        self.encoder = PromptEncoder(
            PromptEncoderConfig(
                num_virtual_tokens=tokens, token_dim=width, encoder_hidden_size=width, num_transformer_submodules=1
            )
        )

    def forward(self) -> Tensor:
        """[virtual tokens, width]."""
        weight = self.encoder.embedding.weight
        vectors: Tensor = self.encoder(torch.arange(len(weight), device=weight.device))
        return vectors


class PTuning(PromptTuning):
    """Runs as prompt tuning does. Saved are the vectors, as peft saves them, and the encoder in a file of its own."""

    def __init__(self, config: PTuningConfig) -> None:
        super().__init__(PromptTuningConfig(tokens=config.tokens))

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """Put the encoder beside the embedding; its weights are drawn from torch's global generator."""
        width = model.get_input_embeddings().embedding_dim  # type: ignore[operator]
        return put_in_front(model, Encoded(self.config.tokens, width))

    @override
    def peft(self) -> Any:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        super().save(model, folder, tokenizer)
        save_file(_encoder(model).state_dict(), folder / ENCODER)

    @override
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the encoder back in place.

        Raises:
            ModelError: it is not there, or makes other vectors.
        """
        if not (folder / ENCODER).is_file():
            raise ModelError(f"the encoder is missing: it needs {ENCODER}", where=str(folder))
        try:
            _encoder(model).load_state_dict(load_file(folder / ENCODER))
        except RuntimeError as error:
            raise ModelError(
                f"the encoder is not one of {self.config.tokens} tokens for this model", where=str(folder)
            ) from error

    @override
    def describe(self) -> str:
        return f"P-tuning, {self.config.tokens} tokens"


def _encoder(model: nn.Module) -> nn.Module:
    found: nn.Module = model.get_input_embeddings().prompt  # type: ignore[operator]
    return found
