"""The protocol that every fine-tuning method implements."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from torch import nn


class Method(Protocol):
    """One way of fine-tuning. An instance belongs to one arm: it may remember what `restore` needs."""

    name: str  # "full", "lora": what the registry and the reports call it
    artifact: str  # name of the folder that `save` writes: "model" or "adapter"

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model with the right parameters trainable and all others frozen (possibly wrapped)."""
        ...

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that the optimiser updates, each once, by name."""
        ...

    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """Write what has to be kept beside the base model, in safetensors."""
        ...

    def load(self, model: nn.Module, folder: Path) -> None:
        """Put what `save` wrote back into a prepared model."""
        ...

    def restore(self, model: nn.Module) -> nn.Module:
        """The model as it was before `prepare`, bit by bit."""
        ...

    def merge(self, model: nn.Module) -> nn.Module:
        """The plain model with what was learned folded into its weights; the base is forgotten."""
        ...

    def describe(self) -> str:
        """As people read it: 'LoRA r=16'."""
        ...


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient; tied ones appear once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
