"""LoRA through peft: a low-rank addition to frozen linear layers (Hu et al. 2022)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, field_validator
from safetensors.torch import load_file
from torch import Tensor, nn
from typing_extensions import override

from keeptune.core.errors import ModelError
from keeptune.methods.base import METHODS, MethodConfig, WeightDelta, task_type, total
from keeptune.methods.lora_layers.quiet import without_false_alarms
from keeptune.methods.lora_layers.targets import check_named, lora_targets, other_towers, refused
from keeptune.methods.peft import WEIGHTS
from keeptune.methods.quantised import dequantise, match_compute_dtype, stored_as


@METHODS.register("lora")
class LoraConfig(MethodConfig):
    """LoRA: linear layers get an addition of low rank."""

    dose: ClassVar[str] = "rank"
    shards: ClassVar[bool] = True

    rank: int = Field(16, ge=1)
    """Columns of A and of B."""
    alpha: float = Field(32.0, gt=0)
    """The addition is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the input of A that is dropped in training."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Linear layers that get an addition: all-linear, their names, or a regular expression."""
    rank_pattern: Mapping[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Ranks of some layers: by name, the end of the name, or a regular expression for that."""
    alpha_pattern: Mapping[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Alphas of some layers, named as in rank_pattern."""
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)
    """Peak learning rates to try: ten times those of full fine-tuning."""

    @field_validator("rank_pattern", "alpha_pattern", "target_modules")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        for pattern in [value] if isinstance(value, str) else value if isinstance(value, Mapping) else ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
        return value

    def variant(self) -> dict[str, Any]:
        """Further settings of peft's config."""
        return {}

    def peft(self, model: nn.Module) -> Any:
        """The config object of peft for a model."""
        from peft import LoraConfig as PeftLoraConfig
        from transformers.pytorch_utils import Conv1D  # GPT-2's transposed linear layer

        return PeftLoraConfig(
            task_type=task_type(model),
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=lora_targets(model, self.target_modules),
            rank_pattern=dict(self.rank_pattern),
            alpha_pattern=dict(self.alpha_pattern),
            exclude_modules=other_towers(model),
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
            **self.variant(),
        )

    @override
    def build(self) -> Lora:
        return Lora(self)


class Lora(WeightDelta):
    """Trains A and B of W + (alpha / rank) B A; B starts at zero, so training starts at the base.

    A and B have the dtype of the base (with float32 masters in the optimiser), so that no activation is cast.
    """

    def __init__(self, config: LoraConfig) -> None:
        self.config = config

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """Wrap ``model`` in a peft model; draws A from torch's global generator.

        Raises:
            ConfigError: ``target_modules`` names a layer that the model does not have, or one that peft refuses; or a
                pattern matches no layer.
        """
        from peft import get_peft_model  # seconds to import: only where an adapter is made

        from keeptune.methods.lora_layers.linear import install

        settings = self.config.peft(model)
        check_named(model, settings, self.config.name)
        try:
            with without_false_alarms():
                adapted: nn.Module = get_peft_model(model, settings, autocast_adapter_dtype=False)
        except ValueError as error:
            raise refused(error, self.config.target_modules) from error
        install(adapted)
        match_compute_dtype(adapted)
        return adapted

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """An adapter folder that plain peft reads. The tokenizer is the base's and is not stored again."""
        model.save_pretrained(folder, save_embedding_layers=False)  # type: ignore[operator]

    @override
    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read A and B back in place.

        Raises:
            ModelError: the adapter has other layers than the model.
        """
        from peft import set_peft_model_state_dict

        result = set_peft_model_state_dict(model, load_file(folder / WEIGHTS))
        lost = [key for key in result.missing_keys if "lora_" in key] + list(result.unexpected_keys)
        if lost:
            raise ModelError(
                f"{len(lost)} adapter weights do not match the model, among them {lost[0]}", where=str(folder)
            )

    @override
    def restore(self, model: nn.Module) -> nn.Module:
        """Take the adapter out again; the base's weights stay as they are."""
        from keeptune.methods.lora_layers.linear import uninstall

        uninstall(model)  # whoever still holds one of its layers holds a layer of peft's
        base: nn.Module = model.unload()  # type: ignore[operator]
        if hasattr(base, "peft_config"):
            del base.peft_config
        return base

    @override
    @torch.no_grad()
    def merge(self, model: nn.Module) -> nn.Module:
        """The base with s B A added to its weights: in float32, and rounded to their dtype once.

        The weights of a quantised base become plain.

        Raises:
            ModelError: two additions belong to one weight.
        """
        from keeptune.methods.lora_layers.linear import additions

        if stored_as(model):
            added = {addition.name: addition.delta for addition in additions(model)}
            return dequantise(self.restore(model), added).requires_grad_(False)
        changed = [id(addition.weight) for addition in additions(model)]
        if len(set(changed)) < len(changed):
            raise ModelError(
                "embedding and head are one weight, and LoRA adds to each of them: it cannot be merged",
                remedy="leave one of them out of target_modules",
            )
        for addition in additions(model):
            addition.add()
        return self.restore(model).requires_grad_(False)

    @override
    def describe(self) -> str:
        return f"LoRA r={self.config.rank}"

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` itself without its additions."""
        from keeptune.methods.lora_layers.linear import switched_off

        with switched_off(model):
            yield model

    @override
    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The frozen W of every layer whose A and B train."""
        from keeptune.methods.lora_layers.linear import additions

        return {addition.name: addition.weight for addition in additions(model) if addition.trains}

    @override
    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """s B A, for the layers whose A and B train."""
        from keeptune.methods.lora_layers.linear import additions

        for addition in additions(model):
            if addition.trains:
                yield addition.name, addition.delta()

    @override
    def squared_length(self, model: nn.Module) -> Tensor:
        """The sum of all squares of `deltas`, from products of rank by rank."""
        from keeptune.methods.lora_layers.linear import additions

        return total(addition.squared_length() for addition in additions(model) if addition.trains)

    @override
    @torch.no_grad()
    def blend(self, model: nn.Module, alpha: float) -> None:
        """Scale B."""
        from keeptune.methods.lora_layers.linear import additions

        for addition in additions(model):
            if alpha != 1:
                addition.b.mul_(alpha)
