"""Settings of the methods. They need no torch: a recipe is checked before anything heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from keeptune.core.config import Config

if TYPE_CHECKING:
    from keeptune.methods.full import Full
    from keeptune.methods.lora import Lora


class FullConfig(Config):
    """Full fine-tuning has no settings of its own."""

    def build(self) -> Full:
        """A fresh instance for one arm."""
        from keeptune.methods.full import Full

        return Full()


class LoraConfig(Config):
    """Which layers get an addition of which rank."""

    rank: int = Field(16, ge=1)  # columns of A and B
    alpha: float = Field(32.0, gt=0)  # the addition is scaled by alpha / rank
    dropout: float = Field(0.0, ge=0, lt=1)  # on the input of A
    target_modules: str | tuple[str, ...] = "all-linear"  # or names of linear layers ("q_proj", "v_proj")

    def build(self) -> Lora:
        """A fresh instance for one arm."""
        from keeptune.methods.lora import Lora

        return Lora(self)
