"""`keeptune export`: a model folder that other programs load, merged in float32, cast once, and checked."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from keeptune import __version__
from keeptune.core.errors import ConfigError, ModelError, RunFolderError
from keeptune.core.files import saving
from keeptune.core.records import write_json
from keeptune.data.encode.tokenizer import read_tokenizer
from keeptune.export.check import distance, log_probabilities, plain_model
from keeptune.export.chosen import Chosen
from keeptune.export.gguf import shape_of, write_gguf
from keeptune.export.records import Dtype, ExportRecord
from keeptune.models.load import load, model_folder

RECORD, GGUF = "export.json", "model.gguf"
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Mean KL, nats per position, that rounding may cost. Weights in fewer bits say slightly other things.
BOUNDS: dict[torch.dtype, float] = {torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 1e-3}


def export(
    chosen: Chosen, out: Path, *, merge: bool = False, dtype: Dtype | None = None, gguf: bool = False
) -> ExportRecord:
    """Write the weights of an arm, its tokenizer with the chat template, and its generation settings into a folder.

    Args:
        chosen: the arm.
        out: the folder, which is not there yet or is empty.
        merge: add an adapter to its base's weights, in float32.
        dtype: cast whole weights to it, once, at the end; by default an adapter and a whole model stay as they are
            stored, and merged weights have the dtype of the base's.
        gguf: write one file, `GGUF`, in place of a model folder; an adapter is merged then.

    Returns:
        How close what was written, read back by plain transformers and peft, is to what the study scored.

    Raises:
        ConfigError: a dtype for an adapter that is not merged.
        RunFolderError: the folder holds something.
        ModelError: the adapter cannot be merged, GGUF does not have the model, or what was written says other things:
            nothing is left then.
        MissingExtra: the package gguf is not installed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunFolderError("is there and not empty", where=str(out), remedy="name another --out, or remove it")
    merge = merge or gguf
    if dtype is not None and chosen.adapter and not merge:
        raise ConfigError("an adapter is stored as it is", where="--dtype", remedy="say --merge, or leave it out")
    base, prompts = model_folder(chosen.base), chosen.prompts()
    if gguf:
        shape_of(base)  # before anything is loaded
    tokenizer = read_tokenizer(str(base), chosen.base)
    expected = _expected(chosen, tokenizer, prompts)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as place:
        folder = Path(place) / "export"
        _write(chosen, base, folder, merge, dtype)
        with saving(folder):
            tokenizer.save_pretrained(folder)
        written = plain_model(folder, base)
        apart = distance(expected, log_probabilities(written, tokenizer, prompts))
        bound = BOUNDS[next(written.parameters()).dtype]
        _check_distance(apart.kl, bound, chosen.arm.name)
        record = ExportRecord(
            keeptune=__version__,
            arm=chosen.arm.name,
            base=chosen.base,
            base_hash=chosen.summary.manifest.model_hash,
            merged=merge and chosen.adapter,
            dtype=dtype,
            gguf=gguf,
            prompts=len(prompts),
            kl=apart.kl,
            agreement=apart.agreement,
            largest=apart.largest,
            bound=bound,
        )
        if gguf:
            folder = _as_gguf(folder, Path(place) / "gguf", chosen.arm.name)
        write_json(folder / RECORD, record)
        if out.exists():
            out.rmdir()
        shutil.move(folder, out)
    return record


def _check_distance(kl: float, bound: float, arm: str) -> None:
    """Raises ModelError where what was written says other things than the study's model."""
    if not kl <= bound:
        raise ModelError(
            f"the exported model is {kl:.2g} nats per token away from the study's, more than {bound:g}",
            where=arm,
            remedy="export with --dtype fp32, or without --merge",
        )


def _as_gguf(whole: Path, folder: Path, name: str) -> Path:
    """A new folder with one file of a model folder's weights and tokenizer."""
    folder.mkdir()
    with saving(folder):
        write_gguf(whole, folder / GGUF, name)
    return folder


def _expected(chosen: Chosen, tokenizer: Any, prompts: list[str]) -> Any:
    """What the study's model says, in float32, the adapter beside its base."""
    if chosen.adapter:
        lm = load(chosen.base, precision="fp32", device="cpu", adapter=chosen.weights)
    else:
        lm = load(str(chosen.weights), precision="fp32", device="cpu")
    return log_probabilities(lm.model, tokenizer, prompts)


def _write(chosen: Chosen, base: Path, folder: Path, merge: bool, dtype: Dtype | None) -> None:
    """The weights and their configuration."""
    if not (merge and chosen.adapter) and dtype is None:
        shutil.copytree(chosen.weights, folder)
        return
    model = plain_model(chosen.weights, base, torch.float32)
    if chosen.adapter:
        model = _merged(model, chosen)
    stored = DTYPES[dtype] if dtype is not None else plain_dtype(base)
    with saving(folder):
        model.to(stored).save_pretrained(folder)  # type: ignore[operator]


def _merged(model: nn.Module, chosen: Chosen) -> nn.Module:
    """The plain model with its adapter added to its weights."""
    merge = getattr(model, "merge_and_unload", None)
    try:
        if merge is None:
            raise ValueError("it adds nothing to weights")
        return cast("nn.Module", merge(safe_merge=True))
    except (ValueError, AttributeError, NotImplementedError) as error:
        raise ModelError(
            f"this adapter cannot be merged: {error}", where=chosen.arm.name, remedy="export it without --merge"
        ) from error


def plain_dtype(base: Path) -> torch.dtype:
    """The dtype that a model's weights are stored in."""
    from safetensors import safe_open

    with safe_open(next(iter(sorted(base.glob("*.safetensors")))), "pt") as file:
        first = next(iter(file.keys()))
        return cast("torch.dtype", file.get_tensor(first).dtype)
