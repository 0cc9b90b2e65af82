"""DoRA: direction of a weight by LoRA, its length per output on its own (Liu et al. 2024, arXiv 2402.09353)."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from keeptune.methods.base import METHODS
from keeptune.methods.lora import LoraConfig
from keeptune.methods.peft import PeftMethod


@METHODS.register("dora")
class DoraConfig(LoraConfig):
    """DoRA: as LoRA, and the length of every weight's rows trains on its own.

    What is added to a weight depends on its length, so it is not scaled or held as LoRA's is.
    """

    weight_deltas: ClassVar[bool] = False
    shards: ClassVar[bool] = False

    @override
    def variant(self) -> dict[str, Any]:
        return {"use_dora": True}

    def title(self) -> str:
        """What tables call it."""
        return f"DoRA r={self.rank}"

    @override
    def build(self) -> PeftMethod:  # type: ignore[override]
        return PeftMethod(self)
