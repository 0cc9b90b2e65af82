"""A model folder as one GGUF file, which llama.cpp and what is built on it load; weights are stored and not quantised.

Names and layout are llama.cpp's: of the architecture "llama" the rows of queries and keys are put in another order,
because llama.cpp rotates neighbours there where transformers rotates the two halves of a head.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from keeptune.core.errors import MissingExtra, ModelError
from keeptune.data.encode.tokenizer import read_tokenizer

ARCHITECTURES = ("llama", "qwen2", "qwen3")  # named alike by transformers and llama.cpp
REMEDY = "export without --gguf, and try llama.cpp's convert_hf_to_gguf.py on the folder"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {  # pattern of a tokenizer -> llama.cpp's name of the rule
    rf"(?i:{WORDS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{REST}": "qwen2",
    rf"(?i:{WORDS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}{REST}": "llama-bpe",
}


@dataclass(frozen=True)
class Shape:
    """What a configuration says of a model that can be written."""

    architecture: str
    config: dict[str, Any]
    splitting: str  # llama.cpp's name of the rule that divides texts before the merges

    @property
    def heads(self) -> tuple[int, int]:
        """Of queries, and of keys and values."""
        return self.config["num_attention_heads"], self.config["num_key_value_heads"]

    @property
    def head_width(self) -> int:
        """Columns of one head."""
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.heads[0])


def shape_of(folder: Path) -> Shape:
    """What can be written of a model folder, found out before anything is.

    Raises:
        MissingExtra: the package gguf is not installed.
        ModelError: another architecture, a scaled rotation, or a tokenizer that llama.cpp does not have.
    """
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingExtra("gguf", "gguf") from error
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind, rope = config.get("model_type"), _rope(config)
    if kind not in ARCHITECTURES:
        raise ModelError(f"{kind} is not among {', '.join(ARCHITECTURES)}", where=str(folder), remedy=REMEDY)
    if rope.get("rope_type", "default") != "default" or config.get("use_sliding_window"):
        raise ModelError("its attention is rotated or windowed in a way of its own", where=str(folder), remedy=REMEDY)
    file = folder / "tokenizer.json"
    splitting = _splitting(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
    if splitting is None:
        raise ModelError("llama.cpp has no tokenizer like its", where=str(folder), remedy=REMEDY)
    return Shape(kind, config, splitting)


def write_gguf(folder: Path, path: Path, name: str) -> None:
    """Write a model folder as a file, in the dtype of its weights, and read every weight back.

    Args:
        folder: a whole model with its tokenizer.
        path: of the file.
        name: as programs show it.

    Raises:
        MissingExtra, ModelError: see `shape_of`; or a weight that llama.cpp does not know.
    """
    import gguf

    shape = shape_of(folder)
    writer = gguf.GGUFWriter(path, shape.architecture)
    _describe(writer, shape, name)
    _add_tokenizer(writer, folder, shape)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[shape.architecture.upper()], shape.config["num_hidden_layers"])
    types = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
    for key, tensor in _weights(folder):
        written = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise ModelError(f"llama.cpp knows no weight {key}", where=str(folder), remedy=REMEDY)
        stored = gguf.GGMLQuantizationType["F32" if tensor.dim() == 1 else types[tensor.dtype]]
        data = gguf.quants.quantize(reordered(key, tensor, shape).float().numpy(), stored)
        writer.add_tensor(written, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    _check(folder, path, shape, names)


def reordered(key: str, tensor: Tensor, shape: Shape, *, back: bool = False) -> Tensor:
    """The weight with its rows as llama.cpp has them; ``back``: as transformers has them."""
    part = next((n for n, kind in enumerate(("q_proj", "k_proj")) if f".{kind}." in key), None)
    if part is None or shape.architecture != "llama":
        return tensor
    halves = (shape.head_width // 2, 2) if back else (2, shape.head_width // 2)
    split = tensor.reshape(shape.heads[part], *halves, *tensor.shape[1:])
    return split.transpose(1, 2).reshape(tensor.shape).contiguous()


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """How positions are rotated; older configurations have it in two fields."""
    older = {"rope_theta": config.get("rope_theta", 10_000.0), **(config.get("rope_scaling") or {})}
    return {**older, **(config.get("rope_parameters") or {})}


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118
                yield key, opened.get_tensor(key)


def _describe(writer: Any, shape: Shape, name: str) -> None:
    config, (queries, keys) = shape.config, shape.heads
    writer.add_name(name)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(queries)
    writer.add_head_count_kv(keys)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(_rope(config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _splitting(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name of how a tokenizer divides texts; None where it is no byte-level BPE that llama.cpp has."""
    model, normal = tokenizer["model"], tokenizer.get("normalizer")
    before = tokenizer.get("pre_tokenizer") or {}
    *first, last = before.get("pretokenizers", [before])
    whole = model.get("type") == "BPE" and not model.get("byte_fallback") and normal in (None, {"type": "NFC"})
    if not whole or last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    found = None
    if last.get("use_regex", True):
        digits = [{key: each.get(key) for key in ("type", "individual_digits")} for each in first]
        found = {0: "gpt-2", 1: "smollm"}.get(len(first))
        if digits not in ([], [{"type": "Digits", "individual_digits": True}]):
            found = None
    elif len(first) == 1 and first[0].get("type") == "Split" and first[0].get("behavior") == "Isolated":
        found = SPLITS.get(first[0]["pattern"].get("Regex", ""))
    return found if bool(model.get("ignore_merges")) == (found == "llama-bpe") else None


def _add_tokenizer(writer: Any, folder: Path, shape: Shape) -> None:
    """Vocabulary, merges, special tokens and the chat template."""
    from gguf import TokenType

    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    size = shape.config["vocab_size"]
    tokens, types = [f"[PAD{n}]" for n in range(size)], [TokenType.UNUSED] * size
    for token, n in stored["model"]["vocab"].items():
        tokens[n], types[n] = token, TokenType.NORMAL
    for added in stored["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(shape.splitting)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges = stored["model"]["merges"]
    writer.add_token_merges([each if isinstance(each, str) else " ".join(each) for each in merges])
    tokenizer = read_tokenizer(str(folder), str(folder))
    for kind in ("bos", "eos", "pad"):
        number = getattr(tokenizer, f"{kind}_token_id")
        if number is not None:
            getattr(writer, f"add_{kind}_token_id")(number)
    begin = tokenizer.bos_token_id
    writer.add_add_bos_token(begin is not None and tokenizer("a").input_ids[0] == begin)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _check(folder: Path, path: Path, shape: Shape, names: Any) -> None:
    """Read the file, and compare every weight with the folder's, bit by bit.

    Raises:
        ModelError: one differs, or is missing.
    """
    from gguf import GGUFReader
    from gguf.quants import dequantize

    found = {each.name: each for each in GGUFReader(path).tensors}
    for key, tensor in _weights(folder):
        read = found.pop(names.get_name(key, try_suffixes=(".weight", ".bias")), None)
        if read is not None:
            values = torch.from_numpy(dequantize(read.data, read.tensor_type).copy()).reshape(tensor.shape)
        if read is None or not torch.equal(reordered(key, values, shape, back=True), tensor.float()):
            raise ModelError(f"the weight {key} was not written as it is", where=str(path))
    if found:
        raise ModelError(f"the file holds more weights than the model: {', '.join(found)}", where=str(path))
