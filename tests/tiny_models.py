"""Random two-layer models of many architectures, each from a configuration of a few lines."""

from __future__ import annotations

from typing import Any

NARROW: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
SMALL: dict[str, Any] = {**NARROW, "intermediate_size": 64, "num_key_value_heads": 2}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}

T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "relative_attention_max_distance": 32,
    "n_positions": 128,
    "decoder_start_token_id": 0,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {**SMALL, "tie_word_embeddings": True},
    "qwen3": {**SMALL, "head_dim": 16},
    "gemma2": {**SMALL, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 5},  # soft caps, too
    "gemma3_text": {
        **SMALL,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mistral": {**SMALL, "sliding_window": 8},
    "cohere": {**SMALL, "logit_scale": 0.25},
    "granite": {**SMALL, "logits_scaling": 3.0, "residual_multiplier": 0.7},
    "phi3": {**SMALL},  # query, key and value in one layer
    "olmo2": {**SMALL},
    "smollm3": {**SMALL, "no_rope_layers": [1, 0]},  # positions in the first layer alone
    "qwen3_moe": {**SMALL, **EXPERTS, "head_dim": 8},
    # of a family of mixtures, without experts
    "granitemoehybrid": {
        **SMALL,
        "num_local_experts": 0,
        "shared_intermediate_size": 64,
        "layer_types": ["attention", "attention"],
        "mamba_n_heads": 8,
    },
    # sinks in attention; the first layer is dense
    "flint": {
        **SMALL,
        **EXPERTS,
        "head_dim": 8,
        "shared_expert_intermediate_size": 16,
        "mlp_only_layers": [0],
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "lfm3": {**SMALL, "head_dim": 8, "layer_types": ["conv", "full_attention"]},
    "gpt_neox": {**NARROW, "intermediate_size": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "opt": {**NARROW, "word_embed_proj_dim": 32, "ffn_dim": 64},
    "falcon": {**NARROW, "multi_query": True},  # one head of keys and values
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "falcon_mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 1,
    },
    # encoder-decoders; T5 with tied embeddings
    "t5": T5,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "dropout": 0.0,
        "max_position_embeddings": 128,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    },
    "rwkv": {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 128},
}


def make(architecture: str, seed: int = 0, **overrides: Any) -> Any:
    """The model in float32 and evaluation mode; ``overrides`` are further fields of its configuration."""
    import torch
    import transformers

    config = transformers.AutoConfig.for_model(architecture, **{**SETTINGS[architecture], **overrides})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pairs = config.is_encoder_decoder
        loader = transformers.AutoModelForSeq2SeqLM if pairs else transformers.AutoModelForCausalLM
        model = loader.from_config(config)
        for parameter in model.parameters():  # larger than the usual 0.02: every part must show in the logits
            if parameter.ndim >= 2:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.float().eval()
