"""From a name on a hub or a folder to a `LanguageModel`. Weights come from safetensors only; no remote code runs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from keeptune.core.errors import ModelError
from keeptune.data.encode.tokenizer import read_tokenizer
from keeptune.models.adapters import adapter_tokenizer, attach, is_adapter
from keeptune.models.kind import check_head, check_kind, check_stored
from keeptune.models.language_model import LanguageModel
from keeptune.models.precision import pick_device, pick_dtype
from keeptune.models.quantise import NONE, check_quantised, loading, stored_hash

log = logging.getLogger(__name__)

BUILTIN = "builtin"
READ = ("*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "*.tiktoken")  # files that a model is made from


def load(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    quantise: str = NONE,
    adapter: str | Path | None = None,
) -> LanguageModel:
    """Load a causal language model or an encoder-decoder by folder, hub name (owner/name@revision) or "builtin".

    An adapter is put on top where one is named.

    ``device``: auto, cpu, cuda, cuda:1. ``precision``: auto, fp32, bf16 (see `precision`). ``quantise``: how the linear
    layers are stored, none, nf4 or int8 (see `quantise`).

    Raises:
        ConfigError: a device, precision or way to store that there is not.
        MissingExtra: the package that quantises is not installed.
        ModelError: the model, its tokenizer or the adapter is missing, incomplete or of another kind.

    Example:
        >>> lm = load("builtin", device="cpu", precision="fp32")
        >>> lm.name, lm.context, lm.dtype
        ('builtin', 1024, torch.float32)
    """
    transformers.utils.logging.disable_progress_bar()  # its bars for every file would cut through ours
    folder = model_folder(name)
    config = read_config(folder, name)
    chosen = pick_device(device)
    dtype = pick_dtype(precision, chosen)
    model = _read_weights(folder, name, config, dtype, loading(quantise, dtype, chosen)).to(chosen)
    check_quantised(model, quantise, name)
    model.name_or_path = name.partition("@")[0] if folder != Path(name) else name  # type: ignore[assignment]
    weights_hash = stored_hash(hash_files(folder), quantise)
    if adapter is not None:
        weights_hash = f"{weights_hash}+{hash_files(Path(adapter))}" if Path(adapter).is_dir() else weights_hash
        model = attach(model, Path(adapter), name)
    tokenizer = read_tokenizer(str(folder), name)
    if adapter is not None:
        tokenizer = _own_tokenizer(Path(adapter), tokenizer)
    lm = LanguageModel.wrap(model.requires_grad_(False), tokenizer, name=name, weights_hash=weights_hash)
    log.info("%s: %d weights in %s on %s, run %s", lm.name, lm.parameters, lm.dtype, lm.device, lm.base_engine.name)
    return lm


def _own_tokenizer(adapter: Path, base: Any) -> Any:
    template = base.chat_template
    own = adapter_tokenizer(adapter, base)
    changed = {"tokenizer": own is not base, "chat template": own.chat_template != template}
    brought = [what for what, is_own in changed.items() if is_own]
    if brought:
        log.warning("%s is asked in the %s that it brings", adapter, " and ".join(brought))
    return own


def hash_files(folder: Path) -> str:
    """Hex SHA-256 (16 digits) over names and contents of all files of a folder that what the model says depends on.

    These are weights, configurations, the tokenizer's files and chat templates, wherever they stand.
    """
    digest = hashlib.sha256()
    for file in sorted(
        file for pattern in (*READ, "additional_chat_templates/*.jinja") for file in folder.glob(pattern)
    ):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def model_folder(name: str, *, weights: bool = True) -> Path:
    """The folder of a model: the package's own, a local one, or a snapshot of a hub repository.

    Without ``weights`` only the small files of a hub's repository are fetched.
    """
    if name == BUILTIN:
        from keeptune.builtin import model_path

        return model_path()
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError("a model is a folder, this is a file", where=name, remedy="name the folder that holds it")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError("no such model folder", where=name, remedy="check the path")
    return _download(name, READ if weights else READ[1:])


def _download(name: str, files: Sequence[str]) -> Path:
    """The snapshot of owner/name, or of one revision of it: owner/name@revision, a branch, a tag or a commit."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(files)))
    except GatedRepoError as error:
        raise ModelError(
            "its owner asks you to accept terms first",
            where=name,
            remedy=f"accept them at {constants.ENDPOINT}/{repo}, and log in: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            "the hub has no such revision of it", where=name, remedy="name a branch, a tag or a commit"
        ) from error
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise ModelError("neither a folder nor a model on the hub", where=name, remedy="check the spelling") from error
    except (LocalEntryNotFoundError, OSError) as error:
        if constants.HF_HUB_OFFLINE:
            remedy = "fetch it once without HF_HUB_OFFLINE, or name a folder"
            raise ModelError("not in the hub's cache, and HF_HUB_OFFLINE is set", where=name, remedy=remedy) from error
        raise ModelError(
            "not a folder here, and the hub cannot be reached", where=name, remedy="check the path or the connection"
        ) from error


def read_config(folder: Path, name: str) -> Any:
    """transformers' configuration of a model folder.

    Raises:
        ModelError: it is no folder of a plain language model.
    """
    from transformers import AutoConfig

    if is_adapter(folder):
        raise ModelError(
            "this is an adapter, not a model", where=name, remedy="name its base and give it as the adapter"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            "not a model folder: config.json is missing", where=name, remedy="save it with save_pretrained(folder)"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as error:
        raise ModelError(f"config.json cannot be used: {error}", where=name) from error
    check_kind(folder, config, name)
    return config


def _read_weights(folder: Path, name: str, config: Any, dtype: torch.dtype, how: Mapping[str, Any]) -> nn.Module:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if not any(folder.glob("*.safetensors")):
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        raise ModelError(
            "its weights are pickled, which can run code" if pickled else "no weights (*.safetensors) in the folder",
            where=name,
            remedy="convert them with model.save_pretrained(folder) where you trust their source" if pickled else None,
        )
    check_stored(folder, name)
    try:
        loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, report = loader.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **how,
        )
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"its weights cannot be read: {error}", where=name) from error
    check_head(report["unexpected_keys"], name)
    lost = sorted(report["missing_keys"])
    if lost:
        raise ModelError(
            f"{len(lost)} weights are missing, among them {lost[0]}",
            where=name,
            remedy="the folder is incomplete or holds another architecture",
        )
    result: nn.Module = model
    return result
