from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from keeptune.core.errors import ConfigError, ModelError
from keeptune.methods.base import METHODS, Wrapper
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


@pytest.mark.parametrize("architecture", ["gpt_neox", "qwen3_moe"])
def test_full_reads_back_what_is_stored_under_other_names(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path, architecture: str
) -> None:
    """GPT-NeoX's head has another name on disk; of Qwen3-MoE every expert is a tensor of its own there."""
    method = FullConfig().build()
    model = method.prepare(build(architecture))
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    method.save(model, tmp_path, tokenizer)
    stored = load_file(tmp_path / "model.safetensors")
    assert not expected.keys() <= stored.keys()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    method.load(model, tmp_path)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    save_file(
        {name: tensor for name, tensor in stored.items() if "o_proj" not in name and "dense" not in name},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ModelError, match="weights are missing, among them"):
        method.load(model, tmp_path)
    save_file({**stored, "extra.weight": torch.ones(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="1 weights are not the model's, among them extra.weight"):
        method.load(model, tmp_path)


SHARED = {f"shared_expert.{layer}_proj.weight" for layer in ("gate", "up", "down")}


@pytest.mark.parametrize(
    ("architecture", "sparse"),
    [("qwen3_moe", {"experts.gate_up_proj", "experts.down_proj", "gate.weight"}), ("flint", SHARED)],
)
def test_what_lora_adds_to_a_mixture_of_experts(build: Callable[..., Any], architecture: str, sparse: set[str]) -> None:
    """peft knows some families' stacks of experts and routers; of others it sees linear layers alone."""
    model, method = build(architecture), LoraConfig(rank=2).build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapted = method.prepare(model)
    with torch.no_grad():
        for parameter in method.trainable(adapted).values():
            parameter.normal_(std=0.2)
    weights, deltas = method.weights(adapted), dict(method.deltas(adapted))
    assert weights.keys() == deltas.keys() <= before.keys()
    assert {name.removeprefix("model.layers.1.mlp.") for name in deltas if ".1.mlp." in name} == sparse
    squares = sum(delta.detach().square().sum() for delta in deltas.values())
    torch.testing.assert_close(method.squared_length(adapted).detach(), squares, rtol=1e-4, atol=0)
    merged = method.merge(adapted).state_dict()
    for name, delta in deltas.items():
        torch.testing.assert_close(merged[name], before[name] + delta.detach(), rtol=0, atol=1e-5)


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


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            ("query",),
            "1 of 1 named layers are not in the model: query -> the layers are down_proj, embed_tokens",
        ),
        (("q_proj", "v_prj"), "1 of 2 named layers are not in the model: v_prj -> use v_proj or q_proj; the layers"),
        ("q_proj", "1 of 1 named layers are not in the model: q_proj"),  # one string is a pattern for whole names
    ],
)
@pytest.mark.parametrize("name", ["lora", "dora", "osf", "peft"])
def test_named_layers_that_are_not_there_are_counted(
    build: Callable[..., Any], name: str, targets: Any, said: str
) -> None:
    model, settings = build("llama"), {"target_modules": targets}
    if name == "osf" and isinstance(targets, str):
        return  # takes names alone
    base = hash_parameters(model)
    method = METHODS[name](**({"type": "loha", "settings": settings} if name == "peft" else settings)).build()
    with pytest.raises(ConfigError, match=f"{name}.target_modules: {re.escape(said)}"):
        method.prepare(model)
    assert hash_parameters(model) == base


def test_layers_may_have_ranks_and_alphas_of_their_own(build: Callable[..., Any]) -> None:
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    patterns = {"rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 6}, "alpha_pattern": {"down_proj": 3.0}}
    config = LoraConfig(rank=4, alpha=8.0, **patterns)
    method, base = config.build(), build("llama")
    adapted: Any = method.prepare(build("llama"))
    settings = PeftLoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", **patterns)
    plain = get_peft_model(build("llama"), settings)
    change(method.trainable(adapted).values())
    plain.load_state_dict(adapted.state_dict())
    torch.testing.assert_close(some_logits(adapted), some_logits(plain))
    ids = torch.arange(3, 40)[None]
    for model in (adapted, plain):
        model(input_ids=ids, labels=ids).loss.backward()
    theirs = dict(plain.named_parameters())
    for name, parameter in method.trainable(adapted).items():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-6)
    ranks = {name: p.shape[0] for name, p in method.trainable(adapted).items() if "lora_A" in name}
    assert sorted(set(ranks.values())) == [2, 4, 6] and list(ranks.values()).count(6) == 1
    weights, merged = dict(base.named_parameters()), plain.merge_and_unload()
    for name, delta in method.deltas(adapted):
        torch.testing.assert_close(merged.get_parameter(name), weights[name] + delta, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "pissa"])
def test_a_pattern_that_matches_no_adapted_layer_is_refused(build: Callable[..., Any], name: str) -> None:
    model = build("llama")
    base = hash_parameters(model)
    method = METHODS[name](target_modules=("q_proj",), rank_pattern={"q_prj": 2}).build()
    with pytest.raises(
        ConfigError, match=rf"{name}\.rank_pattern: no adapted layer matches 'q_prj' -> the layers are q_proj"
    ):
        method.prepare(model)
    assert hash_parameters(model) == base and not any("lora" in key for key, _ in model.named_modules())
    with pytest.raises(ValueError, match="no regular expression"):
        LoraConfig(alpha_pattern={"(": 1.0})


@pytest.mark.parametrize("architecture", ["mamba", "falcon_mamba", "mamba2", "rwkv"])
def test_lora_finds_layers_in_recurrent_models(architecture: str, build: Callable[..., Any], tmp_path: Path) -> None:
    method = LoraConfig(rank=2).build()
    adapted: Any = method.prepare(build(architecture))
    adapted.train()
    ids = torch.arange(3, 20)[None]
    adapted(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in method.trainable(adapted).values())
    layers = {name.partition(".lora_")[0].rpartition(".")[2] for name in method.trainable(adapted)}
    assert layers == ({"in_proj"} if "mamba" in architecture else {"key", "value", "receptance", "output"})
    method.save(adapted, tmp_path, None)
    method.load(adapted, tmp_path)


def test_lora_gives_the_reason_why_peft_refuses_a_layer(build: Callable[..., Any]) -> None:
    method = LoraConfig(target_modules=("out_proj",)).build()
    with pytest.raises(ConfigError, match=r"peft refuses \('out_proj',\): .*'out_proj' is incompatible with Mamba"):
        method.prepare(build("mamba"))


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


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=4, alpha=6.0)], ids=["full", "lora"])
def test_deltas_are_what_was_added_to_the_weights(build: Callable[..., Any], config: Any, architecture: str) -> None:
    base, model = build(architecture), build(architecture)
    method = config.build()
    adapted = method.prepare(model)
    assert all(not delta.any() for _, delta in method.deltas(adapted))
    change(method.trainable(adapted).values())
    deltas, weights = dict(method.deltas(adapted)), dict(base.named_parameters())
    assert deltas.keys() == method.weights(adapted).keys() <= weights.keys()
    merged = adapted.merge_and_unload() if method.artifact == "adapter" else adapted
    for name, tuned in merged.named_parameters():
        expected = weights[name] + deltas[name] if name in deltas else weights[name]
        torch.testing.assert_close(tuned, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=4, alpha=6.0)], ids=["full", "lora"])
def test_squared_length_and_its_gradient_are_those_of_the_deltas(build: Callable[..., Any], config: Any) -> None:
    method = config.build()
    model = method.prepare(build("llama").bfloat16())
    change(method.trainable(model).values())
    parameters = list(method.trainable(model).values())
    expected: Any = sum((delta**2).sum() for _, delta in method.deltas(model))
    got = method.squared_length(model)
    assert got.dtype == torch.float32 and all(delta.dtype == torch.float32 for _, delta in method.deltas(model))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0.0)
    for a, b in zip(torch.autograd.grad(got, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=4)], ids=["full", "lora"])
def test_blends_begin_at_the_base_and_end_at_the_tuned_model(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path, config: Any, dtype: torch.dtype
) -> None:
    model = build("llama").to(dtype)
    before, start = some_logits(model), {name: p.detach().clone() for name, p in model.named_parameters()}
    method = config.build()
    adapted = method.prepare(model)
    change(method.trainable(adapted).values())
    method.save(adapted, tmp_path, tokenizer)
    tuned, deltas, held = some_logits(adapted), dict(method.deltas(adapted)), hash_parameters(adapted)
    method.blend(adapted, 1.0)
    assert torch.equal(some_logits(adapted), tuned) and hash_parameters(adapted) == held
    method.blend(adapted, 0.0)
    assert torch.equal(some_logits(adapted), before)
    assert all(not delta.any() for _, delta in method.deltas(adapted))
    if method.artifact == "model":
        assert all(torch.equal(p, start[name]) for name, p in adapted.named_parameters())
    method.load(adapted, tmp_path)
    method.blend(adapted, 0.3)
    for name, delta in method.deltas(adapted):
        scale = float((start[name].abs().max() + deltas[name].abs().max()).detach())
        error = float((delta - 0.3 * deltas[name]).detach().abs().max()) / scale
        assert error < {torch.float32: 1e-6, torch.bfloat16: 2**-8}[dtype]
    assert not torch.equal(some_logits(adapted), tuned)
    method.restore(adapted)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "fc1"), r".*\.q_proj"])
def test_lora_leaves_what_sees_alone(targets: Any) -> None:
    from transformers import AutoModelForCausalLM, Gemma3Config

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = small | {"vocab_size": 32, "num_key_value_heads": 1, "head_dim": 8}
    sees = small | {"image_size": 8, "patch_size": 4}
    config = Gemma3Config(text_config=text, vision_config=sees, mm_tokens_per_image=4)
    adapted = LoraConfig(rank=2, target_modules=targets).build().prepare(AutoModelForCausalLM.from_config(config))
    places = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert places
    assert all(".language_model.layers." in name for name in places)


@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=4)], ids=["full", "lora"])
def test_the_base_can_be_run_while_another_is_trained(build: Callable[..., Any], config: Any) -> None:
    model, method = build("gpt2"), config.build()
    before = some_logits(model)
    adapted = method.prepare(model)
    change(method.trainable(adapted).values())
    trainable, tuned = method.trainable(adapted).keys(), some_logits(adapted)
    with method.base(adapted) as base:
        assert torch.equal(some_logits(base), before)
    assert torch.equal(some_logits(adapted), tuned)
    assert method.trainable(adapted).keys() == trainable


def test_a_wrapper_does_as_the_method(build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    method = Wrapper(LoraConfig(rank=2).build())
    model = build("llama")
    base = hash_parameters(model)
    adapted = method.prepare(model)
    change(method.trainable(adapted).values())
    tuned = some_logits(adapted)
    method.save(adapted, tmp_path, tokenizer)
    assert float(method.squared_length(adapted).detach()) > 0
    method.blend(adapted, 0.0)
    assert not any(delta.any() for _, delta in method.deltas(adapted))
    method.load(adapted, tmp_path)
    assert torch.equal(some_logits(adapted), tuned)
    assert (method.artifact, method.describe()) == ("adapter", "LoRA r=2")
    assert hash_parameters(method.restore(adapted)) == base


def test_a_method_forgets_the_base_with_the_model(build: Callable[..., Any]) -> None:
    method = FullConfig().build()
    for seed in (0, 1):
        model = build("llama", seed=seed)
        before = some_logits(model)
        with method.base(method.prepare(model)) as base:
            assert torch.equal(some_logits(base), before)
        method.restore(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_merge_rounds_once_and_is_undone_to_the_bit(
    build: Callable[..., Any], tokenizer: Any, dtype: torch.dtype, architecture: str
) -> None:
    lm = LanguageModel.wrap(build(architecture).to(dtype), tokenizer)
    before, start = hash_parameters(lm.model), {name: p.clone() for name, p in lm.model.named_parameters()}
    with lm.changing():
        method = LoraConfig(rank=4).build()
        lm.adapt(method)
        change(method.trainable(lm.model).values())
        deltas = {name: delta.detach() for name, delta in method.deltas(lm.model)}
        lm.accept(method)
        for name, weight in lm.model.named_parameters():
            expected = (start[name].float() + deltas[name]).to(dtype) if name in deltas else start[name]
            assert torch.equal(weight, expected) and not weight.requires_grad
        assert hash_parameters(lm.model) != before
    assert hash_parameters(lm.model) == before
