from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.errors import ConfigError, ModelError
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters


def change(parameters: Any) -> None:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw).to(parameter.dtype)


def some_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return logits


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [FullConfig(), LoraConfig()], ids=["full", "lora"])
def test_saved_state_comes_back_and_so_does_the_base(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path, config: Any, dtype: torch.dtype, architecture: str
) -> None:
    model = build(architecture).to(dtype)
    base = hash_parameters(model)
    first, second = config.build(), config.build()
    adapted = first.prepare(model)
    change(first.trainable(adapted).values())
    tuned = some_logits(adapted)
    first.save(adapted, tmp_path, tokenizer)
    model = first.restore(adapted)
    assert hash_parameters(model) == base
    adapted = second.prepare(model)
    second.load(adapted, tmp_path)
    assert torch.equal(some_logits(adapted), tuned)
    model = second.restore(adapted)
    assert hash_parameters(model) == base
    assert not any(p.requires_grad for p in model.parameters())


def test_full_trains_everything_and_tied_weights_once(build: Callable[..., Any]) -> None:
    model, method = build("llama"), FullConfig().build()
    trained = method.trainable(method.prepare(model))
    assert sum(p.numel() for p in trained.values()) == sum(p.numel() for p in model.parameters())
    assert "lm_head.weight" not in trained
    assert method.describe() == "full fine-tuning"


def test_full_refuses_an_incomplete_folder(build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    method = FullConfig().build()
    model = method.prepare(build("llama"))
    with pytest.raises(ModelError, match="weights are missing"):
        method.load(model, tmp_path)


def test_lora_trains_a_and_b_of_all_linear_layers_but_the_head(build: Callable[..., Any]) -> None:
    model, method = build("llama"), LoraConfig(rank=2).build()
    adapted = method.prepare(model)
    trained = method.trainable(adapted)
    assert len(trained) == 2 * 2 * 7  # A and B, two layers, seven linear layers each
    assert not any("lm_head" in name for name in trained)
    assert all(not p.requires_grad for n, p in adapted.named_parameters() if "lora_" not in n)
    assert method.describe() == "LoRA r=2"


def test_lora_scale_is_alpha_over_rank(build: Callable[..., Any]) -> None:
    adapted: Any = LoraConfig(rank=4, alpha=6.0).build().prepare(build("llama"))
    layer = adapted.base_model.model.model.layers[0].mlp.up_proj
    change([layer.lora_B["default"].weight])
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    expected = layer.base_layer(x) + 1.5 * (x @ layer.lora_A["default"].weight.T) @ layer.lora_B["default"].weight.T
    torch.testing.assert_close(layer(x), expected)


def test_lora_takes_the_dtype_of_the_base(build: Callable[..., Any]) -> None:
    method = LoraConfig(rank=2).build()
    trained = method.trainable(method.prepare(build("llama").bfloat16()))
    assert {p.dtype for p in trained.values()} == {torch.bfloat16}


def test_lora_names_the_layers_there_are(build: Callable[..., Any]) -> None:
    method = LoraConfig(target_modules=("query",)).build()
    with pytest.raises(ConfigError, match=r"finds none of \('query',\).*down_proj, gate_proj, k_proj"):
        method.prepare(build("llama"))


def test_lora_refuses_an_adapter_of_another_shape(build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    method, narrower = LoraConfig(rank=2).build(), LoraConfig(rank=2, target_modules=("q_proj",)).build()
    adapted = method.prepare(build("llama"))
    method.save(adapted, tmp_path, tokenizer)
    with pytest.raises(ModelError, match="adapter weights do not match"):
        narrower.load(narrower.prepare(build("llama")), tmp_path)


def test_an_adapted_model_still_runs_flat(tiny: LanguageModel, random_rows: Callable[..., Any]) -> None:
    from keeptune.batching.trie import flat_batch
    from keeptune.models.forward import flat_logits, padded_logits

    method = LoraConfig(rank=2).build()
    tiny.adapt(method)
    change(method.trainable(tiny.model).values())
    batch = flat_batch(random_rows(5))
    with torch.no_grad():
        torch.testing.assert_close(flat_logits(tiny, batch), padded_logits(tiny, batch), rtol=1e-4, atol=1e-4)
