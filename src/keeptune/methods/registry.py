"""Method names as recipes and the command line use them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Protocol

from keeptune.core.config import validate
from keeptune.core.errors import ConfigError
from keeptune.methods.base import Method
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig


class MethodConfig(Protocol):
    """Settings of a method; ``build`` makes a fresh instance for one arm."""

    def build(self) -> Method:
        """A fresh instance for one arm."""
        ...


METHODS: dict[str, type[FullConfig] | type[LoraConfig]] = {"full": FullConfig, "lora": LoraConfig}


def method_config(name: str, settings: Mapping[str, Any] | None = None) -> MethodConfig:
    """The checked settings of the method called ``name``; no model is needed for that.

    Raises:
        ConfigError: no such method, or a setting that it does not have.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else f"known methods: {', '.join(METHODS)}"
        raise ConfigError(f"no method '{name}'", where="method", remedy=remedy)
    config: MethodConfig = validate(METHODS[name], dict(settings or {}), source=f"method {name}")
    return config
