"""Models by name, built from a seed, and the floating-point work that they cannot avoid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen3Config

_SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "initializer_range": 0.041666,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
}
_QWEN3 = {"vocab_size": 151936, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}
_LLAMA_8B = {"vocab_size": 128256, "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336}
_LLAMA_70B = {"vocab_size": 128256, "hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672}
_TINY = {"vocab_size": 8192, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}

SHAPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "tiny": (LlamaConfig, {**_TINY, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}),
    "smollm2-10": (LlamaConfig, {**_SMOLLM2, "num_hidden_layers": 10}),
    "smollm2-135m": (LlamaConfig, {**_SMOLLM2, "num_hidden_layers": 30}),
    "smollm2-360m": (
        LlamaConfig,
        {
            **_SMOLLM2,
            "hidden_size": 960,
            "intermediate_size": 2560,
            "num_hidden_layers": 32,
            "num_attention_heads": 15,
            "num_key_value_heads": 5,
        },
    ),
    "qwen3-0.6b": (
        Qwen3Config,
        {**_QWEN3, "hidden_size": 1024, "intermediate_size": 3072, "head_dim": 128, "tie_word_embeddings": True},
    ),
    "qwen3-1.7b": (
        Qwen3Config,
        {**_QWEN3, "hidden_size": 2048, "intermediate_size": 6144, "head_dim": 128, "tie_word_embeddings": True},
    ),
    "llama-8b": (LlamaConfig, {**_LLAMA_8B, "num_attention_heads": 32, "num_key_value_heads": 8}),
    "llama-70b": (LlamaConfig, {**_LLAMA_70B, "num_attention_heads": 64, "num_key_value_heads": 8}),
}
PASSES = {"full": 3, "lora": 2, "inference": 1}  # matrix products per weight: forward, for inputs, for weights


@dataclass(frozen=True)
class ModelSpec:
    """A shape with random weights, or a folder (with random weights where it has only a config.json)."""

    shape: str
    folder: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """As reports call it."""
        return Path(self.folder).name if self.folder else self.shape

    def config(self) -> Any:
        """The model's configuration."""
        if self.folder:
            return AutoConfig.from_pretrained(self.folder)
        kind, values = SHAPES[self.shape]
        return kind(**values, max_position_embeddings=8192, pad_token_id=0, bos_token_id=1, eos_token_id=1)

    def build(self, dtype: torch.dtype, device: str, **options: Any) -> nn.Module:
        """The model, equal in every process and precision: drawn weights are rounded to bf16, as published ones are."""
        if self.folder and any(Path(self.folder).glob("*.safetensors")):
            model: nn.Module = AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype, **options)
            return model.to(device)
        torch.manual_seed(self.seed)
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(self.config(), dtype=torch.float32, **options)
        return model.to(torch.bfloat16).to(dtype)


@dataclass(frozen=True)
class Work:
    """What one token costs in a model's matrix products."""

    layers: int  # parameters of all layers' matrices
    head: int  # parameters of the output layer
    attention: int  # layers x heads x head size

    @classmethod
    def of(cls, spec: ModelSpec) -> Work:
        """Counted on a model without memory."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(spec.config())
        config = model.config.get_text_config()
        head = model.get_output_embeddings().weight
        ends = {id(head), id(model.get_input_embeddings().weight)}
        layers = sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in ends)
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(layers, head.numel(), config.num_hidden_layers * config.num_attention_heads * size)

    def flops(self, lengths: Sequence[int], scored: int, kind: str) -> float:
        """Floating-point operations over sequences of these lengths without padding and without sharing.

        The head counts at the ``scored`` tokens only and attention as causal (half of the square). ``kind`` is a
        key of `PASSES`; attention has no weights, so its backward is two products under LoRA, too.
        """
        passes = PASSES[kind]
        attention = (1 if kind == "inference" else 3) * 2 * self.attention * sum(n * n for n in lengths)
        return 2.0 * passes * (self.layers * sum(lengths) + self.head * scored) + attention
