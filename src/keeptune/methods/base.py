"""What a fine-tuning method has to do, and what it may be able to do beside that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import field_validator, model_validator
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.dosed import Dosed
from keeptune.core.registry import Registry


class Method(ABC):
    """One way of fine-tuning. An instance belongs to one training: it may remember what `restore` needs.

    ``model`` is what `prepare` returned, everywhere but in `prepare` itself.

    Example:
        >>> method = LoraConfig(rank=8).build()
        >>> lm.adapt(method)  # calls prepare
        >>> optimizer = torch.optim.AdamW(method.trainable(lm.model).values())
        >>> lm.restore(method)
    """

    artifact: ClassVar[str] = "adapter"  # name of the folder that `save` writes: "model" or "adapter"

    @abstractmethod
    def prepare(self, model: nn.Module) -> nn.Module:
        """The model with the right parameters trainable and all others frozen (possibly wrapped)."""

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that the optimiser updates, each once, by name."""
        return trainable_parameters(model)

    @abstractmethod
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """Write what has to be kept beside the base model, in safetensors."""

    @abstractmethod
    def load(self, model: nn.Module, folder: Path) -> None:
        """Put what `save` wrote back into a prepared model."""

    @abstractmethod
    def restore(self, model: nn.Module) -> nn.Module:
        """The model as it was before `prepare`, bit by bit."""

    def virtual_ids(self, model: nn.Module) -> tuple[int, ...]:
        """Ids behind the vocabulary that the model embeds now and that stand in front of every row."""
        return ()

    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        """Parameters of `trainable` whose learning rate is another, and how many times as large it is."""
        return {}

    @abstractmethod
    def describe(self) -> str:
        """The method in a table or a sentence: 'LoRA r=16'."""

    @abstractmethod
    def base(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """Within, the model as it was before training, to run and not to train; ``model`` itself is not to be run."""


class WeightDelta(Method):
    """A method whose effect is an addition to the base's weights: it can be measured, scaled and merged."""

    @abstractmethod
    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The base's parameters that training adds something to, by their names in the base."""

    @abstractmethod
    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """(name, what was added) for each of `weights`: float32, of the weight's shape, differentiable."""

    def squared_length(self, model: nn.Module) -> Tensor:
        """The sum of all squares of `deltas`: float32 scalar, differentiable."""
        return total(delta.square().sum() for _, delta in self.deltas(model))

    @abstractmethod
    def merge(self, model: nn.Module) -> nn.Module:
        """The plain model with what was learned folded into its weights; the base is forgotten."""

    @abstractmethod
    def blend(self, model: nn.Module, alpha: float) -> None:
        """Replace tuned weights by base + alpha (tuned - base), in place (WiSE-FT, arXiv 2109.01903).

        ``alpha`` 0 gives the base and 1 the tuned model, both bit by bit. What a second call finds is no longer the
        tuned model: `load`, then blend once.
        """


def weight_delta(method: Method) -> WeightDelta:
    """``method``, for callers that need its weight deltas; recipes are checked for that when they are read.

    Raises:
        TypeError: it has none.
    """
    if not isinstance(method, WeightDelta):
        raise TypeError(f"{type(method).__name__} adds nothing to the base's weights")
    return method


class Wrapper(WeightDelta):
    """A method that does all as ``inner`` does; subclasses override what they want otherwise."""

    def __init__(self, inner: WeightDelta) -> None:
        self.inner = inner
        self.artifact = inner.artifact  # type: ignore[misc]

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        return self.inner.prepare(model)

    @override
    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        return self.inner.trainable(model)

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        self.inner.save(model, folder, tokenizer)

    @override
    def load(self, model: nn.Module, folder: Path) -> None:
        self.inner.load(model, folder)

    @override
    def restore(self, model: nn.Module) -> nn.Module:
        return self.inner.restore(model)

    @override
    def virtual_ids(self, model: nn.Module) -> tuple[int, ...]:
        return self.inner.virtual_ids(model)

    @override
    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        return self.inner.rate_factors(model)

    @override
    def describe(self) -> str:
        return self.inner.describe()

    @override
    def base(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        return self.inner.base(model)

    @override
    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        return self.inner.weights(model)

    @override
    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        return self.inner.deltas(model)

    @override
    def squared_length(self, model: nn.Module) -> Tensor:
        return self.inner.squared_length(model)

    @override
    def merge(self, model: nn.Module) -> nn.Module:
        return self.inner.merge(model)

    @override
    def blend(self, model: nn.Module, alpha: float) -> None:
        self.inner.blend(model, alpha)


class MethodConfig(Dosed):
    """Settings of a method, as a recipe gives them under the method's name, and the rates that a study tries."""

    weight_deltas: ClassVar[bool] = True  # whether `build` makes a `WeightDelta`
    same_input: ClassVar[bool] = True  # whether the base can read what the adapted model reads
    copies_base: ClassVar[bool] = False  # whether the base needs memory of its own beside the tuned model
    shards: ClassVar[bool] = False  # whether it was tried with weights that are spread over several processes
    encoder_decoders: ClassVar[bool] = True  # whether encoder-decoders can be trained by it

    learning_rates: tuple[float, ...]
    """Peak learning rates to try."""

    @model_validator(mode="before")
    @classmethod
    def _older_name(cls, values: Any) -> Any:
        """Recipes once said ``rates``, and are still read."""
        if isinstance(values, dict) and "rates" in values and "learning_rates" not in values:
            return {("learning_rates" if key == "rates" else key): value for key, value in values.items()}
        return values

    @field_validator("learning_rates")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or any(rate <= 0 for rate in value) or len(set(value)) < len(value):
            raise ValueError("give one or more positive numbers, each once")
        return tuple(sorted(value))

    def build(self) -> Method:
        """A fresh instance for one training."""
        raise NotImplementedError

    def needs_plain(self, stored: str) -> str | None:
        """Why the method cannot work on a base that is stored as ``stored`` ("nf4", "int8"); None where it can."""
        return None

    def without_rates(self) -> dict[str, Any]:
        """All settings but the rates: what makes the method."""
        return self.model_dump(mode="json", exclude={"learning_rates"})


METHODS: Registry[MethodConfig] = Registry("method", "keeptune.methods")


def is_encoder_decoder(model: Any) -> bool:
    """Whether an encoder reads prompts and a decoder writes answers, as the model's configuration says."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def task_type(model: Any) -> str:
    """What peft calls the kind of ``model``: its adapters say it, and its wrappers go by it."""
    return "SEQ_2_SEQ_LM" if is_encoder_decoder(model) else "CAUSAL_LM"


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient; tied ones appear once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of scalars."""
    return torch.stack(list(parts)).sum()
