"""What kind of model a folder holds, by its configuration and the heads of its weight files: nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from keeptune.core.errors import ModelError

PLAIN = frozenset({"F64", "F32", "F16", "BF16"})  # number formats of weights that are not quantised
_QUANTISED_FIELDS = ("quantization_config", "compression_config")
_IN_ORIGINAL = "name the model in its original precision; quantise: nf4 or int8 then stores it in few bits"
# That answer with labels or numbers.
_HEADS = frozenset({"score", "classifier", "qa_outputs", "regression_head", "reward_head"})


def check_kind(folder: Path, config: Any, name: str) -> None:
    """Refuse what is no plain language model by what its folder states; clears fields that quantise nothing.

    Plain are causal language models, and encoder-decoders that read and write text.

    Args:
        folder: the model's folder.
        config: transformers' configuration that was read from it.
        name: of the model, for messages.

    Raises:
        ModelError: weights are quantised, or the model was saved with another head than a language model's.
    """
    if config.model_type not in _architectures(config):
        raise ModelError(
            f"'{config.model_type}' is no language model", where=name, remedy="use a decoder-only model, T5 or BART"
        )
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _check_quantisation(folder, stated, name)
    for part in (config, config.get_text_config()):
        if getattr(part, "quantization_config", None) is not None:
            del part.quantization_config  # transformers would quantise by it
    _check_architecture(config, stated.get("architectures") or (), name)


def check_stored(folder: Path, name: str) -> None:
    """Refuse quantised weights that the configuration says nothing of: their scales would be passed over.

    Raises:
        ModelError: a weight is stored as integers or 8-bit floats.
    """
    for file in sorted(folder.glob("*.safetensors")):
        for key, dtype in _stored(file):
            if key.endswith("weight") and dtype not in PLAIN:
                raise ModelError(
                    f"its weights are quantised: {file.name} holds {key} as {dtype}", where=name, remedy=_IN_ORIGINAL
                )


def check_head(unexpected: Iterable[str], name: str) -> None:
    """Refuse a folder that holds another head's weights than the language model's.

    Raises:
        ModelError: it does.
    """
    found = sorted(key for key in unexpected if _HEADS.intersection(key.split(".")[:2]))
    if found:
        raise _no_language_model(f"it holds {found[0]}, the head of a classifier", name)


def _stored(file: Path) -> Iterator[tuple[str, str]]:
    """(name, number format) of what a weight file holds; nothing of a file that cannot be read: loading says why."""
    try:
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118  # it is no mapping
                yield key, str(opened.get_slice(key).get_dtype())
    except (SafetensorError, OSError):
        return


def _check_quantisation(folder: Path, stated: Mapping[str, Any], name: str) -> None:
    parts = [stated, *(part for part in stated.values() if isinstance(part, dict))]
    for field in _QUANTISED_FIELDS:
        for settings in (part.get(field) for part in parts):
            if isinstance(settings, dict) and _quantises(settings):
                method = settings.get("quant_method") or "no method named"
                raise ModelError(
                    f"its weights are quantised ({method})", where=f"{name}: config.json, {field}", remedy=_IN_ORIGINAL
                )


def _quantises(settings: Mapping[str, Any]) -> bool:
    """Whether a quantization_config says that weights are quantised; False where it is unset or undone."""
    if settings.get("dequantize"):
        return False  # the number formats of what is stored tell
    method = str(settings.get("quant_method") or "").lower()
    flags = [value for key, value in settings.items() if key.lstrip("_") in ("load_in_4bit", "load_in_8bit")]
    if method.startswith("bitsandbytes") or not method:
        return any(flags) or (not flags and any(settings.values()))
    return method != "none"


def _check_architecture(config: Any, architectures: Iterable[str], name: str) -> None:
    """By the class that the folder was saved from; folders that name none are judged by their weights."""
    named = [architectures] if isinstance(architectures, str) else list(architectures)
    known = set(_architectures(config).values())

    def speaks(architecture: str) -> bool:
        if config.is_encoder_decoder:  # the head is the embedding: saved without it, a model is whole all the same
            bare = {each.replace("ForConditionalGeneration", "Model") for each in known}
            return architecture in known or architecture in bare
        if architecture.endswith("ForConditionalGeneration"):  # one that sees images, too
            return True
        return architecture in known or "CausalLM" in architecture or "LMHead" in architecture

    if named and not any(map(speaks, named)):
        raise _no_language_model(f"config.json says that it is a {named[0]}", name)


def _architectures(config: Any) -> Mapping[str, str]:
    """Model types and their classes that read and write text, of the kind that ``config`` says it is."""
    from transformers.models.auto import modeling_auto

    found: Mapping[str, str] = (
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
        if config.is_encoder_decoder
        else modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    )
    return found


def _no_language_model(reason: str, name: str) -> ModelError:
    return ModelError(
        f"not a language model: {reason}",
        where=name,
        remedy="name the language model that it was made from; if it is one, correct architectures in config.json",
    )
