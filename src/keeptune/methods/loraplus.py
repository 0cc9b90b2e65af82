"""LoRA+: B learns at a higher rate than A (Hayou et al. 2024, arXiv 2402.12354)."""

from __future__ import annotations

from pydantic import Field
from torch import nn
from typing_extensions import override

from keeptune.methods.base import METHODS
from keeptune.methods.lora import Lora, LoraConfig


@METHODS.register("loraplus")
class LoraPlusConfig(LoraConfig):
    """LoRA+: as LoRA, with a higher rate for B than for A."""

    ratio: float = Field(16.0, gt=0)
    """Rate of B over the rate of A."""
    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Peak learning rates of A to try."""

    @override
    def build(self) -> LoraPlus:
        return LoraPlus(self, self.ratio)


class LoraPlus(Lora):
    """All as LoRA does it, at two rates."""

    def __init__(self, config: LoraConfig, ratio: float) -> None:
        super().__init__(config)
        self.ratio = ratio

    @override
    def rate_factors(self, model: nn.Module) -> dict[str, float]:
        return {name: self.ratio for name in self.trainable(model) if "lora_B" in name or "lora_embedding_B" in name}

    @override
    def describe(self) -> str:
        return f"LoRA+ r={self.config.rank}"
