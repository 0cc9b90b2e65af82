"""Full fine-tuning: every parameter is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from keeptune.core.config import Config
from keeptune.core.errors import ModelError
from keeptune.methods.base import trainable_parameters


class FullConfig(Config):
    """Full fine-tuning has no settings of its own."""

    def build(self) -> Full:
        """A fresh instance for one arm."""
        return Full()


class Full:
    """Trains all parameters. Keeps a copy of the base's in host memory (its size once more) until `restore`."""

    name = "full"
    artifact = "model"

    def __init__(self) -> None:
        self._base: dict[str, Tensor] = {}

    def prepare(self, model: nn.Module) -> nn.Module:
        """All parameters require gradients."""
        self._base = {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}
        model.requires_grad_(True)
        return model

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """All parameters, tied ones once."""
        return trainable_parameters(model)

    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """A model folder that `transformers` and `keeptune.models.load` read, in the model's dtype."""
        transformers.utils.logging.disable_progress_bar()
        model.save_pretrained(folder)  # type: ignore[operator]
        tokenizer.save_pretrained(folder)

    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the weights of `save` back in place.

        Raises:
            ModelError: a stored tensor is not one of the model's, or one of the model's is not stored.
        """
        stored: dict[str, Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            stored |= load_file(file)
        names = {name for name, _ in model.named_parameters()}
        missing = names - stored.keys()
        if missing:
            raise ModelError(f"{len(missing)} weights are missing, among them {min(missing)}", where=str(folder))
        model.load_state_dict(stored, strict=False)

    @torch.no_grad()
    def restore(self, model: nn.Module) -> nn.Module:
        """Copy the base's parameters back and freeze them."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self._base[name])
            parameter.grad = None
        self._base = {}
        return model.requires_grad_(False)

    def merge(self, model: nn.Module) -> nn.Module:
        """The model as it is, frozen."""
        self._base = {}
        for parameter in model.parameters():
            parameter.grad = None
        return model.requires_grad_(False)

    def describe(self) -> str:
        """As people read it."""
        return "full fine-tuning"
