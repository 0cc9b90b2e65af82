"""Which layers LoRA adds to: of the language model alone; and why peft adds to none."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from torch import nn

from keeptune.core.errors import ConfigError
from keeptune.core.registry import either

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


def check_named(model: nn.Module, settings: Any, where: str) -> None:
    """Nothing, where every layer that peft's ``settings`` name is there: peft passes over some that are not.

    Raises:
        ConfigError: a name in `target_modules` is no layer's or end of one, or the pattern there is no layer's; or a
            pattern for ranks or alphas is that of no layer which is adapted.
    """
    targets = getattr(settings, "target_modules", None)
    if not targets:
        return
    names = [name for name, _ in model.named_modules()]
    layers = [name for name, module in model.named_modules() if _adaptable(module)]
    named: list[str] = [targets] if isinstance(targets, str) else sorted(targets)
    adapted = {each: [name for name in names if _takes(targets, each, name)] for each in named}
    if lost := [each for each in named if not adapted[each]]:
        raise ConfigError(
            f"{len(lost)} of {len(named)} named layers are not in the model: {', '.join(lost)}",
            where=f"{where}.target_modules",
            remedy=_nearest(lost[0], layers),
        )
    taken = [name for found in adapted.values() for name in found]
    for setting in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(settings, setting, None) or ():
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in taken):  # as peft matches
                raise ConfigError(
                    f"no adapted layer matches '{pattern}'",
                    where=f"{where}.{setting}",
                    remedy=_nearest(pattern, [name for name in layers if name in taken]),
                )


def _takes(targets: Any, each: str, name: str) -> bool:
    """Whether peft takes the layer ``name`` for ``each`` of its targets, which are a list, a pattern, or all layers."""
    if isinstance(targets, str):
        return targets == ALL_LINEAR or re.fullmatch(targets, name) is not None
    return name == each or name.endswith(f".{each}")


def _nearest(word: str, layers: Collection[str]) -> str:
    """The layers whose names resemble a word, and all there are, by the ends of their names."""
    ends = tuple(sorted({name.rpartition(".")[2] for name in layers}))
    near = either(word, ends)
    use = "" if near == either("", ends) else f"use {near}; "
    return f"{use}the layers are {', '.join(ends)}"


def _adaptable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"


def refused(error: Exception, targets: object) -> ConfigError:
    """peft's refusal as an error of ours: its own reason."""
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    return ConfigError(f"peft refuses {targets!r}: {reason}", where="lora.target_modules", remedy="name other layers")
