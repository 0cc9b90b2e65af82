"""The protocol that every fine-tuning method implements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Method(Protocol):
    """One way of fine-tuning. An instance belongs to one arm: it may remember what `restore` needs.

    ``model`` is what `prepare` returned, everywhere but in `prepare` itself.
    """

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

    def base(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """Within, the model as it was before training, to run and not to train; ``model`` itself is not to be run."""
        ...

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The base's parameters that training adds something to, by their names in the base."""
        ...

    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """(name, what was added) for each of `weights`: float32, of the weight's shape, differentiable."""
        ...

    def squared_length(self, model: nn.Module) -> Tensor:
        """The sum of all squares of `deltas`: float32 scalar, differentiable."""
        ...

    def blend(self, model: nn.Module, alpha: float) -> None:
        """Replace tuned weights by base + alpha (tuned - base), in place (WiSE-FT, arXiv 2109.01903).

        ``alpha`` 0 gives the base and 1 the tuned model, both bit by bit. What a second call finds is no longer the
        tuned model: `load`, then blend once.
        """
        ...


class Wrapper:
    """A method that does all as ``inner`` does; subclasses override what they want otherwise."""

    def __init__(self, inner: Method) -> None:
        self.inner = inner
        self.name = inner.name
        self.artifact = inner.artifact

    def prepare(self, model: nn.Module) -> nn.Module:
        """See `Method`."""
        return self.inner.prepare(model)

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """See `Method`."""
        return self.inner.trainable(model)

    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """See `Method`."""
        self.inner.save(model, folder, tokenizer)

    def load(self, model: nn.Module, folder: Path) -> None:
        """See `Method`."""
        self.inner.load(model, folder)

    def restore(self, model: nn.Module) -> nn.Module:
        """See `Method`."""
        return self.inner.restore(model)

    def describe(self) -> str:
        """See `Method`."""
        return self.inner.describe()

    def base(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """See `Method`."""
        return self.inner.base(model)

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """See `Method`."""
        return self.inner.weights(model)

    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """See `Method`."""
        return self.inner.deltas(model)

    def squared_length(self, model: nn.Module) -> Tensor:
        """See `Method`."""
        return self.inner.squared_length(model)

    def merge(self, model: nn.Module) -> nn.Module:
        """See `Method`."""
        return self.inner.merge(model)

    def blend(self, model: nn.Module, alpha: float) -> None:
        """See `Method`."""
        self.inner.blend(model, alpha)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient; tied ones appear once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of scalars."""
    return torch.stack(list(parts)).sum()
