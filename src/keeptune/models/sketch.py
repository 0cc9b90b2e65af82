"""A model on paper: all its layers and none of its weights, from the configuration and the tokenizer alone."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from keeptune.core.errors import ModelError
from keeptune.data.encode.tokenizer import read_tokenizer
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import model_folder, read_config

_PER_LAYER = ("layer_types", "no_rope_layers", "mlp_layer_types")  # lists with an entry for every layer


def sketch(name: str, dtype: torch.dtype) -> LanguageModel:
    """The model of a folder, hub name or "builtin" on the meta device; of a hub's files no weights are fetched.

    It can be adapted, and trained step by step, as one with weights; every tensor then has its shape and no content.

    Raises:
        ModelError: as `load.load`.

    Example:
        >>> lm = sketch("builtin", torch.bfloat16)
        >>> lm.parameters, next(lm.model.parameters()).is_meta
        (4656384, True)
    """
    folder = model_folder(name, weights=False)
    config = read_config(folder, name)
    return LanguageModel.sketch(empty_model(config, dtype), read_tokenizer(str(folder), name), name=name)


def empty_model(config: Any, dtype: torch.dtype, device: str = "meta", layers: int | None = None) -> Any:
    """A model of a configuration, frozen, cut to its first ``layers`` where they are given.

    Without a device for it to be on (meta) it takes no memory; on another its weights are random.

    Raises:
        ModelError: transformers cannot make a model from the configuration.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    maker = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if layers is not None:
        config = shallow(config, layers)
    transformers.utils.logging.disable_progress_bar()
    try:
        with torch.device(device):
            model = maker.from_config(config, dtype=dtype, trust_remote_code=False)
    except (ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"no model can be made from its configuration: {error}") from error
    return model.requires_grad_(False).eval()


def depth(config: Any) -> int:
    """Layers of a model; of an encoder-decoder those of its decoder."""
    text = config.get_text_config()
    return int(getattr(text, "num_decoder_layers", None) or text.num_hidden_layers)


def shallow(config: Any, layers: int) -> Any:
    """The configuration of the same model with its first ``layers`` alone, in encoder and decoder."""
    cut = type(config).from_dict(config.to_dict())
    text = cut.get_text_config()
    for field in ("num_hidden_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"):
        if isinstance(getattr(text, field, None), int):
            setattr(text, field, layers)
    for field in _PER_LAYER:
        if isinstance(getattr(text, field, None), list | tuple):
            setattr(text, field, list(getattr(text, field))[:layers])
    return cut
