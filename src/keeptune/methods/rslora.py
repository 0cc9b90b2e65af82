"""rsLoRA: LoRA whose addition is scaled by alpha / sqrt(rank), so that high ranks learn (Kalajdzievski 2023)."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from keeptune.methods.base import METHODS
from keeptune.methods.lora import Lora, LoraConfig


@METHODS.register("rslora")
class RsLoraConfig(LoraConfig):
    """rsLoRA: as LoRA, scaled by alpha / sqrt(rank) (arXiv 2312.03732)."""

    learning_rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Peak learning rates to try: the addition is sqrt(rank) times as large as LoRA's."""

    @override
    def variant(self) -> dict[str, Any]:
        return {"use_rslora": True}

    @override
    def build(self) -> RsLora:
        return RsLora(self)


class RsLora(Lora):
    """All as LoRA does it: the scale is peft's."""

    @override
    def describe(self) -> str:
        return f"rs{super().describe()}"
