"""Which layers LoRA adds to: of the language model alone; and why peft adds to none."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from keeptune.core.errors import ConfigError

ALL_LINEAR = "all-linear"
_READ_BY_KERNELS = ("out_proj", "x_proj", "dt_proj")  # of state-space mixers: their weights are read, not their outputs


def lora_targets(model: Any, targets: str | tuple[str, ...]) -> str | list[str]:
    """What peft is told; of models with state-space mixers all linear layers but those that an addition never reaches.

    Mixers of Mamba and its like hand the weights of some of their layers to a kernel and never call these layers, and
    peft refuses them.
    """
    if targets != ALL_LINEAR:
        return targets if isinstance(targets, str) else list(targets)
    bypassed = {
        f"{name}.{layer}"
        for name, module in model.named_modules()
        if hasattr(module, "A_log") and hasattr(module, "ssm_state_size")
        for layer in _READ_BY_KERNELS
    }
    if not bypassed:
        return ALL_LINEAR
    head = model.get_output_embeddings()
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head}
    return sorted(linear - bypassed)


def other_towers(model: Any) -> str | None:
    """A pattern for all that a model of several modalities has outside its language model; None for other models.

    What sees and hears is never run here, so an addition to it would learn nothing and only be carried along.
    """
    if model.config.get_text_config() is model.config:
        return None
    language, head = model.get_decoder(), model.get_output_embeddings()
    inside = next((name for name, module in model.named_modules() if module is language), "")
    if not inside:
        return None
    above = inside.rpartition(".")[0]
    prefix = f"{above}." if above else ""
    towers = {
        prefix + name.removeprefix(prefix).partition(".")[0] if name.startswith(prefix) else name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and not name.startswith(f"{inside}.")
    }
    return "|".join(rf"{re.escape(tower)}(\..*)?" for tower in sorted(towers)) or None


def refused(error: ValueError, targets: object, layers: set[str]) -> ConfigError:
    """peft's refusal as an error of ours: its own reason, where the layers are there."""
    reason = str(error).strip().splitlines()[0]
    if "not found" in reason or "No modules were targeted" in reason:
        return ConfigError(
            f"LoRA finds none of {targets!r} in the model",
            where="lora.target_modules",
            remedy=f"its linear layers are {', '.join(sorted(layers)) or 'not of a kind that peft adapts'}",
        )
    return ConfigError(f"peft refuses {targets!r}: {reason}", where="lora.target_modules", remedy="name other layers")
