"""Any adapter of peft: prepared, trained, saved and taken out again in one way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from pydantic import Field, field_validator
from safetensors.torch import load_file
from torch import nn
from typing_extensions import override

from keeptune.core.errors import ConfigError, ModelError
from keeptune.core.registry import either
from keeptune.methods.base import METHODS, Method, MethodConfig, task_type
from keeptune.methods.lora_layers.quiet import without_false_alarms
from keeptune.methods.lora_layers.targets import check_named
from keeptune.methods.quantised import check_plain, lacks_peft_layers, match_compute_dtype

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # the files of an adapter
TAKES_APART = "it takes the base's weights apart into singular directions, and trains some of these"


class PeftSettings(Protocol):
    """What `PeftMethod` asks of its settings."""

    name: ClassVar[str]

    def peft(self, model: nn.Module) -> Any:
        """The config object of peft for a model."""
        ...

    def needs_plain(self, stored: str) -> str | None:
        """Why it cannot work on a quantised base."""
        ...

    def title(self) -> str:
        """What tables call the method."""
        ...


class PeftMethodConfig(MethodConfig):
    """Settings of a method that is a tuner of peft."""

    weight_deltas: ClassVar[bool] = False
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)

    def peft(self, model: nn.Module) -> Any:
        """The config object of peft for a model."""
        raise NotImplementedError

    def title(self) -> str:
        """What tables call it."""
        raise NotImplementedError

    @override
    def build(self) -> PeftMethod:
        return PeftMethod(self)


class PeftMethod(Method):
    """An adapter that peft puts around a model; the base's weights stay as they are."""

    def __init__(self, config: PeftSettings) -> None:
        self.config = config

    @override
    def prepare(self, model: nn.Module) -> nn.Module:
        """Wrap ``model`` in a peft model; what is drawn comes from torch's global generator.

        Raises:
            ConfigError: the settings name layers that the model does not have, or peft refuses them for its own reason.
            ModelError: the model is quantised, and the method needs plain weights.
        """
        from peft import get_peft_model  # seconds to import: only where an adapter is made

        name = self.config.name
        check_plain(model, self.config.title(), self.config.needs_plain)
        try:
            settings = self.config.peft(model)
            check_named(model, settings, name)
            with without_false_alarms():
                adapted: nn.Module = get_peft_model(model, settings, autocast_adapter_dtype=False)
        except (ValueError, TypeError, AttributeError, RuntimeError, re.error) as error:
            raise _refused(name, error) from error
        match_compute_dtype(adapted)
        return adapted

    @override
    def save(self, model: nn.Module, folder: Path, tokenizer: Any) -> None:
        """An adapter folder that plain peft reads. The tokenizer is the base's and is not stored again."""
        model.save_pretrained(folder)  # type: ignore[operator]

    @override
    @torch.no_grad()
    def load(self, model: nn.Module, folder: Path) -> None:
        """Read the adapter back in place.

        Raises:
            ModelError: it has other weights than the model's.
        """
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        stored = load_file(folder / WEIGHTS)
        expected = get_peft_model_state_dict(model)
        lost = sorted(stored.keys() ^ expected.keys())
        if lost:
            raise ModelError(
                f"{len(lost)} adapter weights do not match the model, among them {lost[0]}", where=str(folder)
            )
        set_peft_model_state_dict(model, stored)

    @override
    def restore(self, model: nn.Module) -> nn.Module:
        """Take the adapter out again."""
        base: nn.Module = model.unload()  # type: ignore[operator]
        if hasattr(base, "peft_config"):
            del base.peft_config
        return base

    @override
    def describe(self) -> str:
        return self.config.title()

    @override
    @contextmanager
    def base(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` itself with the adapter switched off."""
        trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        with model.disable_adapter():  # type: ignore[operator]
            yield model
        for name, parameter in model.named_parameters():  # peft's switch, turned on again, may change this
            parameter.requires_grad_(name in trains)


def _refused(name: str, error: Exception) -> ConfigError:
    """peft's refusal as an error of ours."""
    lines = str(error).strip().splitlines()
    return ConfigError(
        f"peft refuses these settings for the model: {lines[0] if lines else type(error).__name__}",
        where=name,
        remedy="change the settings that it names",
    )


def _kind(value: str) -> str:
    return value.upper().replace("-", "_")


@METHODS.register("peft")
class AnyPeftConfig(PeftMethodConfig):
    """A tuner of peft by its type, `peft:loha`, with the settings of peft's own config for it."""

    dose: ClassVar[str] = "type"
    type: str = "lora"
    """As peft names it: lora, loha, lokr, oft, boft, vera, hra."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Settings of peft's config class for it."""

    @field_validator("type")
    @classmethod
    def _known(cls, value: str) -> str:
        if value == cls.model_fields["type"].default:
            return value  # every recipe has these settings, and importing peft takes seconds
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PromptLearningConfig

        known = {str(kind.value).lower(): config for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        name = _kind(value).lower()
        if name not in known:
            raise ValueError(f"peft has no tuner '{value}'; use {either(value, tuple(sorted(known)))}")
        if issubclass(known[name], PromptLearningConfig):
            raise ValueError(f"{value} puts virtual tokens before the input, which this method does not run")
        return value

    @override
    def peft(self, model: nn.Module) -> Any:
        from peft import PEFT_TYPE_TO_CONFIG_MAPPING

        return PEFT_TYPE_TO_CONFIG_MAPPING[_kind(self.type)](task_type=task_type(model), **self.settings)

    @override
    def needs_plain(self, stored: str) -> str | None:
        return lacks_peft_layers(_kind(self.type).lower(), stored)

    @override
    def title(self) -> str:
        return f"{_kind(self.type)} (peft)"
