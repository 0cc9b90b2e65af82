"""Prefix tuning: learned keys and values in front of every layer's (Li and Liang 2021, arXiv 2101.00190)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import Field
from torch import nn
from typing_extensions import override

from keeptune.methods.base import METHODS, task_type
from keeptune.methods.peft import PeftMethod, PeftMethodConfig


@METHODS.register("prefix-tuning")
class PrefixTuningConfig(PeftMethodConfig):
    """Prefix tuning: learned keys and values in front of every layer's. The model runs padded, as peft runs it."""

    dose: ClassVar[str] = "tokens"
    encoder_decoders: ClassVar[bool] = False

    tokens: int = Field(20, ge=1)
    """Virtual tokens whose keys and values every layer gets."""
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 1e-1)

    @override
    def peft(self, model: nn.Module) -> Any:
        from peft import PrefixTuningConfig as PeftConfig

        return PeftConfig(task_type=task_type(model), num_virtual_tokens=self.tokens)

    @override
    def title(self) -> str:
        return f"prefix tuning, {self.tokens} tokens"

    @override
    def build(self) -> PeftMethod:
        return PrefixTuning(self)


class PrefixTuning(PeftMethod):
    """All as peft does it."""

    @override
    def restore(self, model: nn.Module) -> nn.Module:
        """The model that peft stood around."""
        base: nn.Module = model.get_base_model()  # type: ignore[operator]
        return base

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """The same: peft's wrapper, switched off, would have its head read in another order of sums."""
        yield self.restore(model)
