"""GGUF files, read by gguf's own reader and computed from as llama.cpp does it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("gguf")

import gguf
from gguf.quants import dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from keeptune.core.errors import ModelError
from keeptune.export.gguf import reordered, shape_of, write_gguf

SHAPE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rope_theta": 5000.0,
}


def folder_of(kind: str, place: Path, dtype: torch.dtype = torch.float32, *, splitting: Any = None) -> Path:
    torch.manual_seed(0)
    config, cls = (LlamaConfig, LlamaForCausalLM) if kind == "llama" else (Qwen3Config, Qwen3ForCausalLM)
    tied = {"tie_word_embeddings": kind == "llama"}
    model = cls(config(**SHAPE, head_dim=8, **tied)).to(dtype)
    model.save_pretrained(place)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitting or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["the house is red and the other house is blue"] * 9, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{{ messages[0]['content'] }}"
    fast.save_pretrained(place)
    return place


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    weights = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type))) for t in reader.tensors}
    return fields, weights


def rotate(x_THD: Tensor, base: float, neighbours: bool) -> Tensor:
    """Rotary positions: of neighbouring columns, as llama.cpp does for llama, or of the halves of a head."""
    t, _, width = x_THD.shape
    angle = torch.arange(t)[:, None] * base ** (-torch.arange(0, width, 2) / width)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = (x_THD[..., ::2], x_THD[..., 1::2]) if neighbours else x_THD.chunk(2, -1)
    turned = (a * cos - b * sin, a * sin + b * cos)
    return torch.stack(turned, -1).flatten(-2) if neighbours else torch.cat(turned, -1)


def logits(path: Path, ids: Tensor) -> Tensor:
    """What the file says, [T, V], computed from nothing else: the slow reference of llama.cpp's graph."""
    f, w = read(path)
    arch = f["general.architecture"]
    heads, kv, width = (f[f"{arch}.attention.{k}"] for k in ("head_count", "head_count_kv", "key_length"))

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + f[f"{arch}.attention.layer_norm_rms_epsilon"]).rsqrt() * w[name]

    x = w["token_embd.weight"][ids]
    t = len(ids)
    for n in range(f[f"{arch}.block_count"]):
        b = f"blk.{n}"
        h = norm(x, f"{b}.attn_norm.weight")
        q, k, v = ((h @ w[f"{b}.attn_{p}.weight"].T).view(t, m, width) for p, m in (("q", heads), ("k", kv), ("v", kv)))
        if f"{b}.attn_q_norm.weight" in w:
            q, k = norm(q, f"{b}.attn_q_norm.weight"), norm(k, f"{b}.attn_k_norm.weight")
        q, k = (rotate(each, f[f"{arch}.rope.freq_base"], arch == "llama") for each in (q, k))
        k, v = (each.repeat_interleave(heads // kv, 1) for each in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(width)
        scores = scores.masked_fill(torch.ones(t, t).triu(1).bool(), -math.inf).softmax(-1)
        x = x + torch.einsum("hqk,khd->qhd", scores, v).reshape(t, -1) @ w[f"{b}.attn_output.weight"].T
        h = norm(x, f"{b}.ffn_norm.weight")
        gate = torch.nn.functional.silu(h @ w[f"{b}.ffn_gate.weight"].T)
        x = x + (gate * (h @ w[f"{b}.ffn_up.weight"].T)) @ w[f"{b}.ffn_down.weight"].T
    return norm(x, "output_norm.weight") @ w.get("output.weight", w["token_embd.weight"]).T


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_what_the_file_says_is_what_transformers_says(kind: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path / "model")
    write_gguf(folder, tmp_path / "model.gguf", "tiny")
    cls = LlamaForCausalLM if kind == "llama" else Qwen3ForCausalLM
    ids = torch.arange(5, 25)
    with torch.no_grad():
        expected = cls.from_pretrained(folder, dtype=torch.float32)(ids[None]).logits[0]
    torch.testing.assert_close(logits(tmp_path / "model.gguf", ids), expected, rtol=1e-4, atol=1e-5)


def test_bf16_weights_stay_as_they_are_and_norms_are_float32(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path / "model", torch.bfloat16)
    write_gguf(folder, tmp_path / "model.gguf", "tiny")
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert {name for name, kind in types.items() if kind == "F32"} == {n for n in types if "norm" in n}
    assert {kind for name, kind in types.items() if "norm" not in name} == {"BF16"}


def test_the_tokenizer_is_there_token_by_token(tmp_path: Path) -> None:
    folder = folder_of("llama", tmp_path / "model")
    write_gguf(folder, tmp_path / "model.gguf", "tiny")
    fields, _ = read(tmp_path / "model.gguf")
    stored = json.loads((folder / "tokenizer.json").read_text())
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == SHAPE["vocab_size"]
    assert all(tokens[n] == token for token, n in stored["model"]["vocab"].items())
    assert types[:2] == [gguf.TokenType.CONTROL] * 2 and types[-1] == gguf.TokenType.UNUSED
    assert fields["tokenizer.ggml.merges"] == [" ".join(pair) for pair in stored["model"]["merges"]]
    names = ("model", "pre", "bos_token_id", "eos_token_id", "add_bos_token")
    assert [fields[f"tokenizer.ggml.{name}"] for name in names] == ["gpt2", "gpt-2", 0, 1, False]
    assert fields["tokenizer.chat_template"] == "{{ messages[0]['content'] }}"


def test_what_llama_cpp_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    numbers = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    with pytest.raises(ModelError, match="no tokenizer like its"):
        shape_of(folder_of("llama", tmp_path / "digits", splitting=numbers))
    folder = folder_of("llama", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for change, said in (
        ({"model_type": "gpt2"}, "gpt2 is not among llama"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, "rotated or windowed"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=said):
            shape_of(folder)


def test_rows_are_put_back_where_they_were(tmp_path: Path) -> None:
    shape = shape_of(folder_of("llama", tmp_path / "model"))
    weight = torch.arange(32 * 3.0).reshape(32, 3)
    there = reordered("model.layers.0.self_attn.q_proj.weight", weight, shape)
    assert there[:4, 0].tolist() == [weight[i, 0].item() for i in (0, 4, 1, 5)]
    back = reordered("model.layers.0.self_attn.q_proj.weight", there, shape, back=True)
    assert torch.equal(back, weight)
