"""Adapters on disk: read, checked against their base, put on it; and the chat template that they may bring."""

from __future__ import annotations

import filecmp
import json
import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from keeptune.core.errors import ModelError
from keeptune.data.encode.tokenizer import has_vocabulary, read_tokenizer, stored_template
from keeptune.methods.base import METHODS
from keeptune.methods.bottleneck import OWN
from keeptune.methods.lora_layers.quiet import without_false_alarms
from keeptune.methods.peft import CONFIG, WEIGHTS
from keeptune.methods.prompt_tuning import KEY, Vectors, put_in_front

log = logging.getLogger(__name__)

# What may lie beside an adapter and be no model; whole weights have one of the other names.
_BESIDE = ("adapter_*", "value_head*")
_WHOLE = ("*.safetensors", "pytorch_model*.bin")
_VIRTUAL: Final = frozenset({"PROMPT_TUNING", "P_TUNING"})  # vectors in front of the input, and nothing else
_LENGTHENS: Final = frozenset({"MULTITASK_PROMPT_TUNING", "CPT"})  # by vectors that depend on the task, or more
_LANGUAGE: Final = ("CAUSAL_LM", "SEQ_2_SEQ_LM", None)
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
    files = [file for pattern in _WHOLE for file in place.glob(pattern)]
    if any(not any(map(file.match, _BESIDE)) for file in files):
        raise ModelError(
            "the folder holds a whole model and an adapter, and nothing says which of them is meant",
            where=str(folder),
            remedy=f"move {CONFIG} and {WEIGHTS} away where the weights are merged, or the model's files where not",
        )
    return True


def attach(model: Any, folder: Path, name: str, place: str = "default") -> nn.Module:
    """Put the adapter in ``folder`` on ``model``, in the model's own dtype, frozen.

    Args:
        model: a plain one, or one that has adapters of peft by other names.
        folder: of the adapter.
        name: of the model, for messages.
        place: what peft calls the adapter.

    Raises:
        ModelError: the adapter is incomplete, of a kind that cannot be judged, or belongs to another base.
    """
    is_adapter(folder)
    config, stored = check_adapter(folder)
    stated = config.get("base_model_name_or_path")
    other = AS_IT_WAS if not stated or stated == name else f"it was trained on {stated}: name that as the base"
    try:
        if OWN in config:
            adapted = _own(model, folder, config)
        elif str(config["peft_type"]) in _VIRTUAL:
            adapted = _virtual_tokens(model, folder, config)
        else:
            adapted = _wrapped(model, folder, stored, place)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        differs = re.search(r"size mismatch for \S+ .*", str(error))
        reason = f"this adapter does not fit {name}" + (f": {differs.group()}" if differs else "")
        raise ModelError(reason, where=str(folder), remedy=other) from error
    except ModelError as error:
        reason = f"this adapter does not fit {name}: {error.message}"
        raise ModelError(reason, where=str(folder), remedy=error.remedy or other) from error
    source = str(getattr(model.config, "_name_or_path", name))  # of "builtin", or of what the hub's cache holds
    if stated and not (_same_base(stated, name) or _same_base(stated, source)):
        log.warning("%s was trained on %s, not on %s", folder, stated, name)
    return adapted


def _wrapped(model: Any, folder: Path, stored: dict[str, list[int]], place: str) -> nn.Module:
    """``model`` in peft's wrapper, which may be around it already.

    Raises:
        ModelError: a stored weight has no place in the model, which peft passes over, or a place has no weight.
    """
    from peft import PeftModel, get_peft_model_state_dict

    from keeptune.methods.lora_layers.linear import install

    _fit_embeddings(model, stored)
    with without_false_alarms():
        warnings.filterwarnings("ignore", message="Found missing adapter keys")  # which is an error here
        if isinstance(model, PeftModel):
            model.load_adapter(folder, place, autocast_adapter_dtype=False)
        else:
            model = PeftModel.from_pretrained(model, folder, place, autocast_adapter_dtype=False)
    layers = any("embed_tokens" in key or "lm_head" in key or "wte" in key for key in stored)
    needed, placed = (
        get_peft_model_state_dict(model, adapter_name=place, save_embedding_layers=save).keys()
        for save in (False, layers)
    )
    if extra := sorted(stored.keys() - placed - needed):
        raise ModelError(f"{len(extra)} of its weights have no place in the model, among them {extra[0]}")
    if missing := sorted(needed - stored.keys()):
        raise ModelError(
            f"{len(missing)} of its weights are missing, among them {missing[0]}",
            remedy=f"{WEIGHTS} is incomplete, or {CONFIG} belongs to another adapter",
        )
    install(model)
    wrapped: nn.Module = model
    return wrapped


def _virtual_tokens(model: Any, folder: Path, config: Mapping[str, Any]) -> nn.Module:
    """``model`` with the adapter's vectors behind its vocabulary: they run as plain tokens do.

    Raises:
        ModelError: they are not as many as ``config`` says, or not as wide as the model's embeddings.
    """
    prompt, count = load_file(folder / WEIGHTS)[KEY], config["num_virtual_tokens"]
    if config.get("num_transformer_submodules") == 2:  # peft stores as many for a decoder, and never uses them
        prompt = prompt[:count]
    if len(prompt) != count:
        raise ModelError(f"{CONFIG} says {count} virtual tokens, and {len(prompt)} are stored")
    return put_in_front(model, Vectors(prompt)).requires_grad_(False)


def _own(model: Any, folder: Path, config: dict[str, Any]) -> nn.Module:
    """``model`` adapted by a method of keeptune's that peft does not have.

    Raises:
        ModelError: what is stored does not fit the model.
    """
    method = METHODS[config[OWN]].model_validate(config["settings"]).build()
    adapted = method.prepare(model)
    method.load(adapted, folder)
    return adapted.requires_grad_(False)


def check_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """What an adapter says of itself, and the shapes of its tensors by name.

    Raises:
        ModelError: a file is missing or cut short, or the adapter is of a kind that cannot be judged.
    """
    config = _config(folder)
    kind, task = config.get("peft_type"), config.get("task_type")
    if kind in _LENGTHENS:
        raise ModelError(
            f"a {kind} adapter puts virtual tokens before the input, and cannot be judged",
            where=str(folder),
            remedy="judge an adapter that changes layers, such as LoRA",
        )
    if task not in _LANGUAGE:
        raise ModelError(
            f"an adapter for {task}, not for a language model",
            where=str(folder),
            remedy="judge an adapter whose task_type is CAUSAL_LM",
        )
    return config, _stored(folder)


def _config(folder: Path) -> dict[str, Any]:
    """What an adapter says of itself.

    Raises:
        ModelError: nothing that can be read.
    """
    from peft import PeftConfig

    if not (folder / CONFIG).is_file():
        raise ModelError("not an adapter folder", where=str(folder), remedy=f"it needs {CONFIG}, as peft saves it")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{CONFIG} cannot be read: {error}", where=str(folder), remedy="the file was cut short; copy it again"
        ) from error
    if isinstance(config, dict) and OWN in config:
        return config
    if not isinstance(config, dict) or not config.get("peft_type"):
        raise ModelError(f"{CONFIG} names no peft_type", where=str(folder), remedy="save the adapter with peft")
    try:
        PeftConfig.from_pretrained(folder)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{CONFIG} is nothing that peft understands: {error}",
            where=str(folder),
            remedy="save the adapter with peft",
        ) from error
    return config


def _stored(folder: Path) -> dict[str, list[int]]:
    """The shapes of the adapter's tensors, by name."""
    file = folder / WEIGHTS
    if not file.is_file():
        pickled = any(folder.glob("adapter_model*.bin"))
        raise ModelError(
            "the adapter's weights are pickled, which can run code" if pickled else "the adapter's weights are missing",
            where=str(folder),
            remedy=f"it needs {WEIGHTS}",
        )
    try:
        with safe_open(file, "pt") as opened:
            return {key: list(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        pointer = file.stat().st_size < LARGE and file.read_bytes().startswith(b"version https://git-lfs")
        why = "is a pointer of Git LFS and no weights" if pointer else f"cannot be read: {error}"
        remedy = "fetch it with `git lfs pull`" if pointer else "the file was cut short; copy it again"
        raise ModelError(f"{WEIGHTS} {why}", where=str(folder), remedy=remedy) from error


def _fit_embeddings(model: Any, stored: dict[str, list[int]]) -> None:
    """Give the model as many token embeddings as an adapter holds that was trained with tokens of its own."""
    embedding = model.get_input_embeddings()
    place = next((name for name, module in model.named_modules() if module is embedding), "")
    for part in ("weight", "base_layer.weight"):
        shape = stored.get(f"base_model.model.{place}.{part}")
        if shape is not None and shape[0] != embedding.num_embeddings and shape[1] == embedding.embedding_dim:
            model.resize_token_embeddings(shape[0], mean_resizing=False)
            return


def _same_base(stated: str, name: str) -> bool:
    """Whether two names mean one model: the same hub name, or folders with one place or one content.

    A folder that is not here is taken for the one of the same name: it was moved.
    """
    name = name if Path(name).exists() else name.partition("@")[0]  # of a pinned model
    if stated == name:
        return True
    a, b = Path(stated).expanduser(), Path(name).expanduser()
    if a.is_dir() and b.is_dir():
        return a.resolve() == b.resolve() or _equal_weights(a, b)
    return _last_name(a) == _last_name(b)


def _last_name(path: Path) -> str:
    """The model's own name in a path or hub name; the hub's cache keeps it in models--OWNER--NAME/snapshots/COMMIT."""
    cached = next((part for part in path.parts if part.startswith("models--")), path.name)
    return cached.rpartition("--")[2]


def _equal_weights(a: Path, b: Path) -> bool:
    """Whether two folders hold the same weights; sizes do not tell, for a tuned model has those of its base."""
    names = {file.name for file in a.glob("*.safetensors")}
    if not names or names != {file.name for file in b.glob("*.safetensors")}:
        return False
    return all(filecmp.cmp(a / name, b / name, shallow=False) for name in sorted(names))


def adapter_tokenizer(folder: Path, base: Any) -> Any:
    """The tokenizer that an adapter is asked with: the one it brings where that differs from its base's.

    Trainers save tokenizer and template beside the adapter: what it was trained in is what it is asked in.

    Raises:
        ModelError: it brings one that cannot be read.
    """
    if has_vocabulary(folder):
        own = read_tokenizer(str(folder), str(folder))
        if not own.chat_template:
            own.chat_template = base.chat_template
        if _same_tokens(own, base):
            base.chat_template = own.chat_template
            return base
        return own
    template = stored_template(folder, str(folder))
    if template:
        base.chat_template = template
    return base


def _same_tokens(a: Any, b: Any) -> bool:
    return bool(a.eos_token == b.eos_token and a.get_vocab() == b.get_vocab())
