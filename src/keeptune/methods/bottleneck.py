"""Bottleneck adapters: a small network behind every layer (Houlsby et al. 2019; where Pfeiffer et al. 2021 put it)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.errors import ModelError
from keeptune.methods.base import METHODS, Method, MethodConfig
from keeptune.methods.partial import layer_stacks
from keeptune.methods.peft import CONFIG, WEIGHTS

OWN = "keeptune_method"  # in an adapter's `CONFIG`: the method that reads the adapter, where peft has none
PLACE = "bottleneck"  # name of the network inside its layer


@METHODS.register("bottleneck")
class BottleneckConfig(MethodConfig):
    """Bottleneck adapters: a narrow network behind every layer (arXiv 1902.00751, 2005.00247)."""

    weight_deltas: ClassVar[bool] = False
    dose: ClassVar[str] = "size"

    size: int = Field(64, ge=1)
    """Numbers that a layer's output is squeezed into."""
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)

    @override
    def build(self) -> BottleneckMethod:
        return BottleneckMethod(self)


class Bottleneck(nn.Module):
    """h + U relu(D h + d) + u, of a layer's output h. U and u start at zero, so that training starts at the base."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.on = True

    def forward(self, hidden: Tensor) -> Tensor:
        """Of [..., width], the same shape; token by token, so that rows may share what they have in common."""
        return hidden + self.up(torch.relu(self.down(hidden))) if self.on else hidden


class BottleneckMethod(Method):
    """Trains the networks, which stand behind the layers of every stack; all else is frozen."""

    def __init__(self, config: BottleneckConfig) -> None:
        self.config = config
        self._hooks: list[Any] = []

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """Put a network behind every layer; draws D from torch's global generator.

        Raises:
            ModelError: the model keeps its layers in no list, or has networks behind them already.
        """
        layers = _layers(model)
        if any(hasattr(layer, PLACE) for layer in layers):
            raise ModelError("the model has bottleneck adapters already", remedy="load it without its adapter")
        like = model.get_input_embeddings().weight  # type: ignore[operator]
        width = model.config.get_text_config().hidden_size  # type: ignore[operator, union-attr]
        model.requires_grad_(False)
        for layer in layers:
            setattr(layer, PLACE, Bottleneck(width, self.config.size).to(like.device, like.dtype))
            self._hooks.append(layer.register_forward_hook(_behind))
        return model

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """The networks by the number of their layer, and the settings; keeptune alone reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        stated = {
            OWN: self.config.name,
            "settings": self.config.without_rates(),
            "base_model_name_or_path": getattr(model, "name_or_path", None),
        }
        (folder / CONFIG).write_text(json.dumps(stated, indent=2), encoding="utf-8")
        save_file(_networks(model).state_dict(), folder / WEIGHTS, metadata={"format": "pt"})

    @override
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the networks back in place.

        Raises:
            ModelError: they are of another size, or not one for every layer.
        """
        networks = _networks(model)
        stored, needed = load_file(folder / WEIGHTS), networks.state_dict()
        lost = sorted(stored.keys() ^ needed.keys()) or [
            name for name in sorted(needed) if needed[name].shape != stored[name].shape
        ]
        if lost:
            raise ModelError(
                f"{len(lost)} adapter weights do not match the model, among them {lost[0]}", where=str(folder)
            )
        networks.load_state_dict(stored)

    @override
    def restore(self, model: nn.Module) -> nn.Module:
        """Take the networks out again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for layer in _layers(model):
            delattr(layer, PLACE)
        return model

    @override
    def describe(self) -> str:
        return f"bottleneck {self.config.size}"

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` itself, its networks switched off."""
        networks = list(_networks(model))
        try:
            for network in networks:
                network.on = False  # type: ignore[assignment]
            yield model
        finally:
            for network in networks:
                network.on = True  # type: ignore[assignment]


def _behind(layer: nn.Module, inputs: Any, output: Any) -> Any:
    """A layer's output, a tensor or a tuple that begins with it, with its network behind."""
    network: Any = getattr(layer, PLACE)
    return (network(output[0]), *output[1:]) if isinstance(output, tuple) else network(output)


def _layers(model: nn.Module) -> list[nn.Module]:
    """All layers, lowest first; an encoder's before the decoder's."""
    return [layer for stack in layer_stacks(model).values() for layer in stack]


def _networks(model: nn.Module) -> nn.ModuleList:
    """Those of all layers."""
    return nn.ModuleList(getattr(layer, PLACE) for layer in _layers(model))
