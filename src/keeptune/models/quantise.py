"""Bases whose linear layers are stored in few bits: 4-bit NF4 of bitsandbytes, or 8-bit integers of torchao.

How a base is stored is one thing, the number format that it computes in (`precision`) another: a layer is made plain in
that format where it is used. Embeddings, norms and the head stay as they are.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from keeptune.core.errors import ConfigError, MissingExtra, ModelError
from keeptune.core.quiet import quiet_libraries
from keeptune.core.units import content_hash
from keeptune.methods.quantised import quantised_layers, stored_as
from keeptune.models.causal import distance, probe_logits
from keeptune.models.engines.base import Engine

if TYPE_CHECKING:
    from keeptune.models.loaded import LoadedModel

log = logging.getLogger(__name__)

NONE = "none"
PACKAGES = {"nf4": "bitsandbytes", "int8": "torchao"}
# What decides the stored numbers, beside the weights themselves: a part of the base's hash.
_SETTINGS: dict[str, dict[str, Any]] = {
    "nf4": {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "int8": {"per": "row of the weight"},
}


def loading(quantise: str, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What transformers' ``from_pretrained`` is told beside the folder; nothing for a base of plain weights.

    Layers are quantised one by one as they are read, on the device that they stay on.

    Raises:
        ConfigError: an unknown way to store a base, or one that the device cannot use.
        MissingExtra: the package that does it is not installed.
    """
    if quantise == NONE:
        return {}
    if quantise not in PACKAGES:
        raise ConfigError(f"no way to store a base '{quantise}'", where="quantise", remedy="use none, nf4 or int8")
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"a base cannot be quantised on {device.type}",
            where="quantise",
            remedy="use device: cpu, or quantise: none",
        )
    _import(PACKAGES[quantise])
    return {"quantization_config": _config(quantise, dtype), "device_map": str(device)}


def _config(quantise: str, dtype: torch.dtype) -> Any:
    if quantise == "nf4":
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype, **_SETTINGS["nf4"])
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8WeightOnlyConfig())


def _import(package: str) -> None:
    """Import a package, and no code from a hub with it.

    bitsandbytes fetches a kernel there where ``kernels`` is installed and the processor has AVX512-BF16.
    """
    quiet_libraries()
    before = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]  # to import it is an error then
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra(package, "quantise") from error
    finally:
        del sys.modules["kernels"]
        if before is not None:
            sys.modules["kernels"] = before


def stored_hash(files: str, quantise: str) -> str:
    """The hash of a base by that of its files: what a quantised base says is not what the plain one says."""
    return files if quantise == NONE else content_hash([files, quantise, _SETTINGS[quantise]])


def check_quantised(model: nn.Module, quantise: str, name: str) -> None:
    """Nothing where the model is stored as it was asked for.

    Raises:
        ModelError: no layer of it could be quantised.
    """
    if quantise != NONE and not quantised_layers(model):
        raise ModelError(
            f"it has no linear layer that can be stored as {quantise}", where=name, remedy="use quantise: none"
        )


def keep_order(model: nn.Module) -> None:
    """Let packed weights lie as they are stored, whatever runs.

    On processors with AVX512-BF16 bitsandbytes puts them into another order, in place, at the first call in evaluation
    mode. Its product from there on rounds to bfloat16 whatever the model computes in, and has no gradient for what is
    below the layer: a model that was scored could not be trained any more.
    """
    for layer in quantised_layers(model):
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
            layer.state_dict()  # puts them back where that has happened already


def weights_in(parameter: nn.Parameter) -> int:
    """How many weights a parameter holds; of packed ones more than it has elements."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else int(torch.Size(state.shape).numel())


@contextmanager
def telling_of_merge(lm: LoadedModel, engine: Engine) -> Iterator[None]:
    """Within, an adapter is merged into the model; where the base was quantised, a log line says what that changed.

    The merged model is dense: base and addition were added in float32 and rounded once, and no longer one by one.
    """
    if not stored_as(lm.model):
        yield
        return
    before = probe_logits(lm, engine)
    yield
    moved = distance(probe_logits(lm, engine), before)
    log.info("%s: merged into plain weights, which moves its logits by %.2g of their spread", lm.name, moved)
