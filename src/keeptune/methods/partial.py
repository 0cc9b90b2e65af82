"""Full fine-tuning of a part of the weights: biases, norms, the last layers, or those that a pattern names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field, field_validator
from torch import nn
from typing_extensions import override

from keeptune.core.errors import ConfigError, ModelError
from keeptune.methods.base import METHODS, is_encoder_decoder
from keeptune.methods.full import Full, OwnWeightsConfig

Chosen = Callable[[nn.Module], set[str]]


class Partial(Full):
    """Trains some of the parameters, by their names in the model; all others stay as they are.

    What is saved is a whole model, so that any tool reads it.
    """

    def __init__(self, title: str, chosen: Chosen, where: str) -> None:
        super().__init__()
        self.title, self.chosen, self.where = title, chosen, where

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """The chosen parameters require gradients.

        Raises:
            ConfigError: there is none.
            ModelError: the model is quantised.
        """
        names = self.chosen(model)
        super().prepare(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
        if not self.trainable(model):
            self.restore(model)
            last = [name for name, _ in model.named_parameters()][-3:]
            raise ConfigError(
                "the model has no such weights",
                where=self.where,
                remedy=f"its weights have names like {', '.join(last)}",
            )
        return model

    @override
    def describe(self) -> str:
        return self.title


def matching(pattern: str) -> Chosen:
    """The parameters in whose name ``pattern`` is found."""
    return lambda model: {name for name, _ in model.named_parameters() if re.search(pattern, name)}


def norms(model: nn.Module) -> set[str]:
    """Weights and biases of normalisation layers, by what they are called."""
    layers = [name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()]
    return {name for name, _ in model.named_parameters() if name.rpartition(".")[0] in layers}


def layer_stacks(model: Any) -> dict[str, nn.ModuleList]:
    """The model's stacks of layers by name, each lowest first: the decoder's, after the encoder's where there is one.

    A stack is the longest list that is not part of another one.

    Raises:
        ModelError: there is none.
    """
    parts = (model.get_encoder(), model.get_decoder()) if is_encoder_decoder(model) else (model,)
    names = {id(module): name for name, module in model.named_modules()}
    stacks = {}
    for part in parts:
        lists = {names[id(module)]: module for module in part.modules() if isinstance(module, nn.ModuleList)}
        outer = {name: each for name, each in lists.items() if not any(name.startswith(f"{one}.") for one in lists)}
        if not outer:
            raise ModelError("the model keeps its layers in no list", where=type(model).__name__)
        name = max(outer, key=lambda each: len(outer[each]))
        stacks[name] = outer[name]
    return stacks


def last_layers(count: int) -> Chosen:
    """Everything from the decoder's last ``count`` layers up: final norm and head included, embeddings not."""

    def chosen(model: nn.Module) -> set[str]:
        name, stack = list(layer_stacks(model).items())[-1]
        kept = tuple(f"{name}.{number}." for number in range(max(0, len(stack) - count), len(stack)))
        below = [module for module in model.modules() if isinstance(module, nn.Embedding)]
        if is_encoder_decoder(model):
            below.append(model.get_encoder())  # type: ignore[operator]
        lower = {id(p) for module in below for p in module.parameters()}
        named = dict(model.named_parameters())
        above = {each for each, p in named.items() if not each.startswith(f"{name}.") and id(p) not in lower}
        return above | {each for each in named if each.startswith(kept)}

    return chosen


@METHODS.register("bitfit")
class BitFitConfig(OwnWeightsConfig):
    """BitFit: only biases train (arXiv 2106.10199); many recent models have none."""

    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)

    @override
    def build(self) -> Partial:
        return Partial("BitFit", matching(r"bias$"), "bitfit")


@METHODS.register("norms")
class NormsConfig(OwnWeightsConfig):
    """Only normalisation layers train."""

    learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)

    @override
    def build(self) -> Partial:
        return Partial("norms", norms, "norms")


@METHODS.register("last-layers")
class LastLayersConfig(OwnWeightsConfig):
    """Only the last layers train, with the final norm and a head that is not tied to the embeddings."""

    dose: ClassVar[str] = "count"
    count: int = Field(2, ge=1)
    """Layers that train, counted from the end."""
    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)

    @override
    def build(self) -> Partial:
        return Partial(f"last {self.count} layers", last_layers(self.count), "last-layers.count")


@METHODS.register("matching")
class MatchingConfig(OwnWeightsConfig):
    """Only the weights train in whose name a regular expression is found."""

    pattern: str = "lm_head|norm"
    """Regular expression that is found in the names of the weights that train."""
    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)

    @field_validator("pattern")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return value

    @override
    def build(self) -> Partial:
        return Partial(f"weights matching {self.pattern}", matching(self.pattern), "matching.pattern")
