"""Adapters on disk: read, checked against their base, put on it; and the chat template that they may bring."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from keeptune.core.errors import ModelError
from keeptune.data.tokenizer import read_tokenizer

log = logging.getLogger(__name__)

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
AS_IT_WAS = "name the base it was trained on, as it was then"
LARGE = 1024  # bytes: a smaller file that is no safetensors is a pointer to one


def is_adapter(folder: str | Path) -> bool:
    """True for a folder that holds an adapter and no whole model.

    Raises:
        ModelError: it holds both: put on top of merged weights, an adapter counts twice.
    """
    place = Path(folder)
    if not (place / CONFIG).is_file():
        return False
    if any(file.name != WEIGHTS for file in place.glob("*.safetensors") if not file.name.startswith("adapter_")):
        raise ModelError(
            "the folder holds a whole model and an adapter, and nothing says which of them is meant",
            where=str(folder),
            remedy=f"move {CONFIG} and {WEIGHTS} away where the weights are merged, or the model's files where not",
        )
    return True


def attach(model: nn.Module, folder: Path, name: str) -> nn.Module:
    """Put the peft adapter in ``folder`` on ``model``, in the model's own dtype, frozen.

    Raises:
        ModelError: the adapter is incomplete or belongs to another base.
    """
    from peft import PeftModel, get_peft_model_state_dict

    from keeptune.methods.lora_linear import install

    is_adapter(folder)
    stated = _stated_base(folder)
    stored = _stored(folder)
    other = ModelError(
        f"this adapter does not fit {name}",
        where=str(folder),
        remedy=f"it was trained on {stated}: name that as the base" if stated and stated != name else AS_IT_WAS,
    )
    try:
        adapted: nn.Module = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise other from error
    layers = any("embed_tokens" in key or "lm_head" in key or "wte" in key for key in stored)
    placed = {key for save in {False, layers} for key in get_peft_model_state_dict(adapted, save_embedding_layers=save)}
    if not stored <= placed:  # peft passes over weights that have no place in the model
        raise other
    install(adapted)
    if stated and not _same_base(stated, name):
        log.warning("%s was trained on %s, not on %s", folder, stated, name)
    return adapted


def _stated_base(folder: Path) -> str | None:
    if not (folder / CONFIG).is_file():
        raise ModelError("not an adapter folder", where=str(folder), remedy=f"it needs {CONFIG}, as peft saves it")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{CONFIG} cannot be read: {error}", where=str(folder), remedy="the file was cut short; copy it again"
        ) from error
    if not isinstance(config, dict) or not config.get("peft_type"):
        raise ModelError(f"{CONFIG} names no peft_type", where=str(folder), remedy="save the adapter with peft")
    stated = config.get("base_model_name_or_path")
    return str(stated) if stated else None


def _stored(folder: Path) -> set[str]:
    """Names of the adapter's tensors."""
    file = folder / WEIGHTS
    if not file.is_file():
        raise ModelError("the adapter's weights are missing", where=str(folder), remedy=f"it needs {WEIGHTS}")
    try:
        with safe_open(file, "pt") as opened:
            return set(opened.keys())
    except (SafetensorError, OSError) as error:
        pointer = file.stat().st_size < LARGE and file.read_bytes().startswith(b"version https://git-lfs")
        why = "is a pointer of Git LFS and no weights" if pointer else f"cannot be read: {error}"
        remedy = "fetch it with `git lfs pull`" if pointer else "the file was cut short; copy it again"
        raise ModelError(f"{WEIGHTS} {why}", where=str(folder), remedy=remedy) from error


def _same_base(stated: str, name: str) -> bool:
    """Whether two names mean one model: the same hub name, or folders with one place or one content."""
    if stated == name:
        return True
    a, b = Path(stated).expanduser(), Path(name).expanduser()
    if a.is_dir() and b.is_dir():
        return a.resolve() == b.resolve() or _weights(a) == _weights(b) != []
    return a.name == b.name and not (a.is_dir() and b.is_dir())  # moved, or a snapshot of the hub's


def _weights(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes of the weights: what two copies of one model share."""
    return sorted((file.name, file.stat().st_size) for file in folder.glob("*.safetensors"))


def adapter_template(folder: Path, tokenizer: Any) -> str | None:
    """The chat template that an adapter folder brings where the base's tokenizer has another or none; else None.

    Trainers save tokenizer and template beside the adapter: what it was trained in is what it is asked in.
    """
    if not any((folder / file).is_file() for file in ("tokenizer_config.json", "chat_template.jinja")):
        return None
    if (folder / "chat_template.jinja").is_file():
        own: Any = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    else:
        try:
            own = read_tokenizer(str(folder), str(folder)).chat_template
        except ModelError:  # a tokenizer without a vocabulary beside it: nothing to be asked with
            return None
    if isinstance(own, dict):
        own = own.get("default")
    return str(own) if own and own != tokenizer.chat_template else None
