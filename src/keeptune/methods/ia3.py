"""IA3: keys, values and feed-forward activations are scaled by learned vectors (Liu et al. 2022, arXiv 2205.05638)."""

from __future__ import annotations

from typing import Any

from torch import nn
from typing_extensions import override

from keeptune.methods.base import METHODS, task_type
from keeptune.methods.peft import PeftMethodConfig
from keeptune.methods.quantised import lacks_peft_layers


@METHODS.register("ia3")
class Ia3Config(PeftMethodConfig):
    """IA3: learned vectors scale keys, values and feed-forward activations."""

    target_modules: tuple[str, ...] | None = None
    """Linear layers that are scaled, of attention their output; by default those that peft knows."""
    feedforward_modules: tuple[str, ...] | None = None
    """Those of target_modules whose input is scaled instead."""
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 1e-1)
    """Peak learning rates to try: few weights that multiply take large steps."""

    @override
    def peft(self, model: nn.Module) -> Any:
        from peft import IA3Config

        listed = {
            "target_modules": self.target_modules and list(self.target_modules),
            "feedforward_modules": self.feedforward_modules and list(self.feedforward_modules),
        }
        return IA3Config(task_type=task_type(model), **{name: value for name, value in listed.items() if value})

    @override
    def needs_plain(self, stored: str) -> str | None:
        return None if stored == "int8" else lacks_peft_layers("ia3", stored)  # whose plain layers serve int8

    @override
    def title(self) -> str:
        return "IA3"
