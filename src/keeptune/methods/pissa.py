"""PiSSA: LoRA that begins with the largest singular directions of a weight and trains these (Meng et al. 2024)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from keeptune.methods.base import METHODS
from keeptune.methods.lora import LoraConfig
from keeptune.methods.peft import CONFIG, TAKES_APART, WEIGHTS, PeftMethod


@METHODS.register("pissa")
class PissaConfig(LoraConfig):
    """PiSSA: the largest singular directions of every weight train (arXiv 2404.02948); alpha equals the rank."""

    weight_deltas: ClassVar[bool] = False
    shards: ClassVar[bool] = False
    alpha: float = 16.0
    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Peak learning rates to try: it begins with directions that matter."""

    @override
    def variant(self) -> dict[str, Any]:
        return {"init_lora_weights": "pissa"}

    @override
    def needs_plain(self, stored: str) -> str | None:
        return TAKES_APART

    def title(self) -> str:
        """What tables call it."""
        return f"PiSSA r={self.rank}"

    @override
    def build(self) -> Pissa:  # type: ignore[override]
        return Pissa(self)


class Pissa(PeftMethod):
    """Takes s B0 A0 out of every weight W and trains B A in its place; W itself is kept until `restore`.

    What is saved is a LoRA of twice the rank on the untouched base, s (B A - B0 A0), which any tool reads.
    """

    def __init__(self, config: PissaConfig) -> None:
        super().__init__(config)
        self._base: dict[str, Tensor] = {}  # W by the layer's name
        self._start: dict[str, tuple[Tensor, Tensor]] = {}  # A0, B0

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        adapted = super().prepare(model)
        for name, layer in _adapted(adapted):
            self._base[name] = before[f"{name.removeprefix('base_model.model.')}.weight"]
            self._start[name] = tuple(p.detach().clone() for p in _pair(layer))  # type: ignore[assignment]
        return adapted

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """A LoRA of twice the rank, in peft's format."""
        super().save(model, folder, tokenizer)
        stored = load_file(folder / WEIGHTS)
        for name, (a, b) in self._start.items():
            key_a, key_b = (next(key for key in stored if key.startswith(f"{name}.lora_{side}")) for side in "AB")
            stored[key_a] = torch.cat([stored[key_a], a.to(stored[key_a].device)])
            stored[key_b] = torch.cat([stored[key_b], -b.to(stored[key_b].device)], dim=1)
        save_file(stored, folder / WEIGHTS, metadata={"format": "pt"})
        path = folder / CONFIG
        config = json.loads(path.read_text(encoding="utf-8"))
        config |= {name: 2 * config[name] for name in ("r", "lora_alpha")} | {"init_lora_weights": True}
        for name in ("rank_pattern", "alpha_pattern"):
            config[name] = {pattern: 2 * value for pattern, value in config[name].items()}
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")

    @override
    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read A and B back, and take the stored B0 A0 out of the base's weights."""
        stored = load_file(folder / WEIGHTS)
        for name, layer in _adapted(model):
            key_a, key_b = (next(key for key in stored if key.startswith(f"{name}.lora_{side}")) for side in "AB")
            a, b = _pair(layer)
            rank = len(a)
            a.copy_(stored[key_a][:rank])
            b.copy_(stored[key_b][:, :rank])
            weight = layer.get_base_layer().weight
            first = stored[key_a][rank:].to(weight.device), -stored[key_b][:, rank:].to(weight.device)
            if not all(torch.equal(x, y) for x, y in zip(first, self._start[name], strict=True)):
                self._start[name] = first
                scale = next(iter(layer.scaling.values()))
                weight.copy_(self._base[name].float() - scale * first[1].float() @ first[0].float())

    @override
    @torch.no_grad()
    def restore(self, model: nn.Module) -> nn.Module:
        for name, layer in _adapted(model):
            layer.get_base_layer().weight.copy_(self._base[name])
        self._base, self._start = {}, {}
        return super().restore(model)

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` itself with the adapter switched off and W in its place."""
        weights = {name: layer.get_base_layer().weight for name, layer in _adapted(model)}
        residuals = {name: weight.data for name, weight in weights.items()}
        try:
            for name, weight in weights.items():
                weight.data = self._base[name]
            with super().base(model):
                yield model
        finally:
            for name, weight in weights.items():
                weight.data = residuals[name]


def _adapted(model: nn.Module) -> list[tuple[str, Any]]:
    """(name, layer) of every layer that has an adapter."""
    from peft.tuners.lora.layer import LoraLayer

    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer)]


def _pair(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """A [R, K] and B [N, R] of a layer."""
    adapter = layer.active_adapters[0]
    return layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
