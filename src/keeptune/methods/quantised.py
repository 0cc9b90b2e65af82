"""Models whose linear layers are stored in few bits: told from others, refused where that cannot work, made plain.

bitsandbytes and torchao are imported by who loads such a model, not here.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from keeptune.core.errors import ModelError

_STORED = {"bitsandbytes": "nf4", "torchao": "int8"}  # by what transformers calls the way
_PEFT_LAYERS = {"nf4": "bnb", "int8": "torchao"}  # the module of a tuner of peft that has layers for such weights
_FLOAT32 = frozenset({("ia3", "nf4"), ("randlora", "nf4")})  # what follows these layers in a bf16 model fails on it


def stored_as(model: nn.Module) -> str | None:
    """How the linear layers of a model, adapted or not, are stored: "nf4" or "int8"; None for plain weights."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    method = quantizer.quantization_config.quant_method
    return _STORED.get(str(getattr(method, "value", method)), str(method))


def lacks_peft_layers(tuner: str, stored: str) -> str | None:
    """Why a tuner of peft cannot work on weights that are stored as ``stored``; None where it can.

    A tuner without layers for them would take the packed numbers for the weights.
    """
    if importlib.util.find_spec(f"peft.tuners.{tuner}.{_PEFT_LAYERS.get(stored, stored)}") is None:
        return f"peft has no {tuner} layers for weights in {stored}"
    if (tuner, stored) in _FLOAT32:
        return f"peft's {tuner} layers for weights in {stored} compute in fp32, whatever the model computes in"
    return None


def check_plain(model: nn.Module, what: str, needs_plain: Callable[[str], str | None]) -> None:
    """Nothing for a model that a method can work on.

    Raises:
        ModelError: it is quantised; ``what`` cannot work on it, for the reason that ``needs_plain`` gives.
    """
    stored = stored_as(model)
    why = needs_plain(stored) if stored else None
    if why:
        raise ModelError(
            f"{what} cannot work on a quantised base: {why}", remedy="load the base without quantise, or train LoRA"
        )


def compute_dtype(model: nn.Module) -> torch.dtype:
    """The number format that a model computes in: that of its embedding, which is never quantised."""
    dtype: torch.dtype = model.get_input_embeddings().weight.dtype  # type: ignore[operator]
    return dtype


def match_compute_dtype(adapted: nn.Module) -> None:
    """Give what trains the base's number format where peft, which looks at the packed weights, could not."""
    if stored_as(adapted):
        dtype = compute_dtype(adapted)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)


def plain_weight(layer: Any) -> Tensor:
    """[N, K] float32: the weight of a quantised linear layer, as exactly as it is stored."""
    weight = layer.weight
    if not _packed(layer):
        found: Tensor = weight.dequantize(output_dtype=torch.float32)
        return found
    from bitsandbytes.functional import dequantize_4bit

    state = copy.copy(weight.quant_state)
    state.dtype = torch.float32  # otherwise rounded to the format that the weights had
    found = dequantize_4bit(weight.data, state)
    return found


@torch.no_grad()
def dequantise(model: Any, added: Mapping[str, Callable[[], Tensor]]) -> nn.Module:
    """The model with plain weights, to which ``added`` was added in float32; each is rounded once.

    Args:
        model: quantised, without an adapter. It is changed in place.
        added: makes a float32 addition, by the name of its weight in the base, quantised or not; called one by one.
    """
    dtype = compute_dtype(model)
    for name, layer in list(model.named_modules()):
        key = f"{name}.weight"
        if _stores(layer):
            weight = plain_weight(layer)
            model.set_submodule(name, _plain_layer(layer, weight + added[key]() if key in added else weight, dtype))
        elif key in added:
            layer.weight.copy_(layer.weight.float() + added[key]())
    model.hf_quantizer.remove_quantization_config(model)
    model.__dict__.pop("is_loaded_in_4bit", None)
    return model  # type: ignore[no-any-return]


def quantised_layers(model: nn.Module) -> list[Any]:
    """The layers of a model whose weights are stored in few bits."""
    return [layer for layer in model.modules() if _stores(layer)]


def _stores(layer: nn.Module) -> bool:
    weight = getattr(layer, "weight", None)
    return isinstance(layer, nn.Linear) and (_packed(layer) or type(weight).__module__.startswith("torchao."))


def _packed(layer: nn.Module) -> bool:
    """Whether a layer is bitsandbytes' for 4 bits: two weights in every byte, and their scales beside them."""
    return getattr(getattr(layer, "weight", None), "quant_state", None) is not None


def _plain_layer(layer: Any, weight_NK: Tensor, dtype: torch.dtype) -> nn.Module:
    """The layer of the kind that it was before it was quantised."""
    from transformers.pytorch_utils import Conv1D  # seconds to import: only where a model is merged

    bias = layer.bias
    made: Any
    with torch.device("meta"):
        if issubclass(getattr(layer, "source_cls", nn.Linear), Conv1D):  # GPT-2's, whose weight is [K, N]
            made, weight_NK = Conv1D(layer.out_features, layer.in_features), weight_NK.T
        else:
            made = nn.Linear(layer.in_features, layer.out_features, bias=bias is not None)
    made.weight = nn.Parameter(weight_NK.to(dtype).contiguous(), requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)
    plain: nn.Module = made.train(layer.training)
    return plain
