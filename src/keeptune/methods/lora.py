"""LoRA through peft: a low-rank addition to frozen linear layers (Hu et al. 2022)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from keeptune.core.errors import ModelError
from keeptune.methods.base import total, trainable_parameters
from keeptune.methods.config import LoraConfig
from keeptune.methods.lora_targets import lora_targets, other_towers, refused

WEIGHTS = "adapter_model.safetensors"


class Lora:
    """Trains A and B of W + (alpha / rank) B A; B starts at zero, so training starts at the base.

    A and B have the dtype of the base (with float32 masters in the optimiser), so that no activation is cast.
    """

    name = "lora"
    artifact = "adapter"

    def __init__(self, config: LoraConfig) -> None:
        self.config = config

    def prepare(self, model: nn.Module) -> nn.Module:
        """Wrap ``model`` in a peft model; draws A from torch's global generator.

        Raises:
            ConfigError: ``target_modules`` names no layer of the model, or one that peft refuses.
        """
        from peft import LoraConfig as PeftLoraConfig  # seconds to import: only where an adapter is made
        from peft import get_peft_model
        from transformers.pytorch_utils import Conv1D  # GPT-2's transposed linear layer

        from keeptune.methods.lora_linear import install

        targets = self.config.target_modules
        settings = PeftLoraConfig(
            task_type="CAUSAL_LM",
            r=self.config.rank,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=lora_targets(model, targets),
            exclude_modules=other_towers(model),
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
        )
        layers = {name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        try:
            with warnings.catch_warnings():  # peft asks transformers for a name that is being renamed
                warnings.simplefilter("ignore", FutureWarning)
                adapted: nn.Module = get_peft_model(model, settings, autocast_adapter_dtype=False)
        except ValueError as error:
            raise refused(error, targets, layers) from error
        install(adapted)
        return adapted

    def trainable(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """A and B of every adapted layer."""
        return trainable_parameters(model)

    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """An adapter folder that plain peft reads. The tokenizer is the base's and is not stored again."""
        model.save_pretrained(folder, save_embedding_layers=False)  # type: ignore[operator]

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

    def restore(self, model: nn.Module) -> nn.Module:
        """Take the adapter out again; the base's weights were never touched."""
        from keeptune.methods.lora_linear import uninstall

        uninstall(model)  # whoever still holds one of its layers holds a layer of peft's
        base: nn.Module = model.unload()  # type: ignore[operator]
        if hasattr(base, "peft_config"):
            del base.peft_config
        return base

    def merge(self, model: nn.Module) -> nn.Module:
        """The base with s B A added to its weights, rounded to their dtype."""
        from keeptune.methods.lora_linear import uninstall

        uninstall(model)
        merged: nn.Module = model.merge_and_unload()  # type: ignore[operator]
        if hasattr(merged, "peft_config"):
            del merged.peft_config
        return merged.requires_grad_(False)

    def describe(self) -> str:
        """As people read it."""
        return f"LoRA r={self.config.rank}"

    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` itself without its additions."""
        from keeptune.methods.lora_linear import switched_off

        with switched_off(model):
            yield model

    def weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The frozen W of every layer whose A and B train."""
        from keeptune.methods.lora_linear import additions

        return {addition.name: addition.weight for addition in additions(model) if addition.trains}

    def deltas(self, model: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """s B A, for the layers whose A and B train."""
        from keeptune.methods.lora_linear import additions

        for addition in additions(model):
            if addition.trains:
                yield addition.name, addition.delta()

    def squared_length(self, model: nn.Module) -> Tensor:
        """The sum of all squares of `deltas`, from products of rank by rank."""
        from keeptune.methods.lora_linear import additions

        return total(addition.squared_length() for addition in additions(model) if addition.trains)

    @torch.no_grad()
    def blend(self, model: nn.Module, alpha: float) -> None:
        """Scale B."""
        from keeptune.methods.lora_linear import additions

        for addition in additions(model):
            if alpha != 1:
                addition.b.mul_(alpha)
