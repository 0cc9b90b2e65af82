from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from keeptune.core.errors import ModelError
from keeptune.methods.base import WeightDelta
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.engines.trie import TrieEngine
from keeptune.models.language_model import LanguageModel, hash_parameters


def test_facts(tiny: LanguageModel, tokenizer: Any) -> None:
    assert tiny.engine.name == "flat"
    assert tiny.context == 128
    assert tiny.eos_ids == (tokenizer.eos_token_id,)
    assert tiny.device.type == "cpu"
    assert tiny.dtype == torch.float32
    assert not tiny.chat
    assert tiny.hash == LanguageModel.wrap(tiny.model, tiny.tokenizer).hash
    assert tiny.parameters == sum(p.numel() for p in tiny.model.parameters())


def test_every_end_token_of_the_generation_config_counts(build: Callable[..., Any], tokenizer: Any) -> None:
    model = build("llama")
    model.generation_config.eos_token_id = [7, tokenizer.eos_token_id]
    assert LanguageModel.wrap(model, tokenizer).eos_ids == (tokenizer.eos_token_id, 7)


def test_a_tokenizer_without_end_is_refused(build: Callable[..., Any], tokenizer: Any) -> None:
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(ModelError, match=r"no end-of-sequence token -> add \"eos_token\" to tokenizer_config.json"):
        LanguageModel.wrap(build("llama"), endless)


def test_a_tokenizer_larger_than_the_model_is_refused(build: Callable[..., Any], tokenizer: Any) -> None:
    model = build("llama", vocab_size=300)
    with pytest.raises(ModelError, match="has 320 tokens, the model embeds 300"):
        LanguageModel.wrap(model, tokenizer)


def test_one_changed_weight_changes_the_hash(tiny: LanguageModel) -> None:
    before = hash_parameters(tiny.model)
    with torch.no_grad():
        list(tiny.model.parameters())[-1][0] += 1
    assert hash_parameters(tiny.model) != before


def test_casting_a_model_does_not_round_its_rotary_frequencies(build: Callable[..., Any], tokenizer: Any) -> None:
    exact = build("llama").model.rotary_emb.inv_freq
    model = build("llama").to(torch.bfloat16)
    assert not torch.equal(model.model.rotary_emb.inv_freq.float(), exact)
    LanguageModel.wrap(model, tokenizer)
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)
    assert model.model.rotary_emb.original_inv_freq.dtype == torch.float32


def test_restore_gives_back_weights_and_name(tiny: LanguageModel) -> None:
    before, weights, method = tiny.hash, hash_parameters(tiny.model), FullConfig().build()
    tiny.adapt(method)
    assert tiny.hash is None
    with torch.no_grad():
        for parameter in tiny.model.parameters():
            parameter += 1
    tiny.restore(method)
    assert (tiny.hash, hash_parameters(tiny.model)) == (before, weights)
    assert not any(p.requires_grad for p in tiny.model.parameters())


class Prompts:
    """A method that learns what stands before the input: peft's prefixes, or virtual tokens."""

    def __init__(self, kind: str) -> None:
        import peft

        self.config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=3)

    def prepare(self, model: Any) -> nn.Module:
        from peft import get_peft_model

        return get_peft_model(model, self.config).eval()

    def virtual_ids(self, model: Any) -> tuple[int, ...]:
        return ()

    def restore(self, model: Any) -> nn.Module:
        base: nn.Module = model.get_base_model()
        return base


def test_how_a_model_runs_is_found_out_anew_where_a_method_changes_its_input(tiny: LanguageModel) -> None:
    method: Any = Prompts("PrefixTuningConfig")
    tiny.adapt(method)
    assert tiny.engine.name == "padded"
    tiny.restore(method)
    assert isinstance(tiny.engine, TrieEngine) and tiny.engine.plain_head


def test_within_using_the_reference_nothing_runs_flat(tiny: LanguageModel) -> None:
    method = LoraConfig(rank=2).build()
    with tiny.using("padded"):
        tiny.adapt(method)
        with tiny.using("flat"):
            assert tiny.engine.name == "padded"
        assert replace(tiny).engine.name == "padded"  # as remedies do to run the base
    assert tiny.engine.name == "flat"
    tiny.restore(method)


class Deaf(WeightDelta):
    """A method whose layers do not hand on what flat attention needs."""

    def prepare(self, model: Any) -> nn.Module:
        class Wrapped(nn.Module):
            def __init__(self, inner: Any) -> None:
                super().__init__()
                self.inner, self.config = inner, inner.config

            def forward(self, input_ids: Any, attention_mask: Any = None, **unused: Any) -> Any:
                return self.inner(input_ids=input_ids, attention_mask=attention_mask)

        return Wrapped(model)

    def restore(self, model: Any) -> nn.Module:
        inner: nn.Module = model.inner
        return inner

    merge = restore
    save = load = describe = base = weights = deltas = blend = None  # type: ignore[assignment]


def test_any_method_that_puts_another_module_in_place_is_tried(tiny: LanguageModel) -> None:
    method: Any = Deaf()
    for leave in (tiny.restore, tiny.accept):
        tiny.adapt(method)
        assert tiny.engine.name == "padded"
        leave(method)
        assert tiny.engine.name == "flat"


def test_a_method_that_lengthens_the_input_is_refused(tiny: LanguageModel) -> None:
    method: Any = Prompts("PromptTuningConfig")
    with pytest.raises(ModelError, match="3 virtual tokens before the input"):
        tiny.adapt(method)
