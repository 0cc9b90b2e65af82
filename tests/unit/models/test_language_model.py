from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from keeptune.batching.trie import Choices, choice_batch, flat_batch
from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.methods.config import FullConfig, LoraConfig
from keeptune.models.forward import target_logprobs, target_nll
from keeptune.models.language_model import LanguageModel, hash_parameters


def test_facts(tiny: LanguageModel, tokenizer: Any) -> None:
    assert tiny.flat
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


def test_a_model_without_attention_runs_padded_and_says_so_once(
    build: Callable[..., Any], tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        lm = LanguageModel.wrap(build("mamba"), tokenizer, name="tiny-mamba")
    assert not lm.flat
    assert [r.getMessage() for r in caplog.records if r.name.startswith("keeptune")] == [
        f"tiny-mamba runs padded, which is slower: {caplog.records[-1].args[1]}"  # type: ignore[index]
    ]
    rows = [Encoded("a", (5, 6, 7), (8, 9)), Encoded("b", (10,), (11, 12, 13, 2))]
    together = target_logprobs(lm, flat_batch(rows))
    alone = torch.cat([target_logprobs(lm, flat_batch([row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    choices = choice_batch([Choices((5, 6, 7), [(8, 9), (10, 11)])])
    first = target_logprobs(lm, choices)[choices.examples == 0]
    torch.testing.assert_close(first, together[:2], rtol=1e-4, atol=1e-4)
    assert not lm.shares
    assert len([r for r in caplog.records if r.name.startswith("keeptune")]) == 1


def test_attention_that_hides_its_window_in_the_mask_runs_padded(
    build: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two short trees cannot show a window of 5,000; the probe compares what was masked with what arrived."""
    from transformers.models.gemma2 import modeling_gemma2

    original = modeling_gemma2.Gemma2Attention.__init__

    def forgetful(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.sliding_window = None

    model = build("gemma2", sliding_window=5000)
    assert LanguageModel.wrap(model, tokenizer).flat
    monkeypatch.setattr(modeling_gemma2.Gemma2Attention, "__init__", forgetful)
    assert not LanguageModel.wrap(build("gemma2", sliding_window=5000), tokenizer).flat


def test_wrong_logits_run_padded(build: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from keeptune.models import attention

    monkeypatch.setattr(attention, "block_attention", lambda q, *args, **kwargs: torch.zeros_like(q))
    assert not LanguageModel.wrap(build("llama"), tokenizer).flat


def test_a_head_that_does_more_is_not_plain(
    build: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scale that the config does not tell of: the model runs flat, its own forward makes the logits."""
    from transformers.models.llama import modeling_llama

    original, rows = modeling_llama.LlamaForCausalLM.forward, [Encoded("a", (5, 6, 7), (8, 9))]
    exact = target_logprobs(LanguageModel.wrap(build("llama"), tokenizer), flat_batch(rows))

    def scaled(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = original(self, *args, **kwargs)
        output.logits = output.logits * 0.5
        return output

    monkeypatch.setattr(modeling_llama.LlamaForCausalLM, "forward", scaled)
    lm = LanguageModel.wrap(build("llama"), tokenizer)
    assert lm.flat and not lm.plain_head
    batch = flat_batch(rows)
    logits = lm.model(torch.tensor([[5, 6, 7, 8]])).logits[0, 2:].detach()
    wanted = logits.log_softmax(-1)[[0, 1], [8, 9]]
    with torch.no_grad():
        torch.testing.assert_close(target_logprobs(lm, batch), wanted)
    torch.testing.assert_close(target_nll(lm, batch).detach(), -wanted.sum())
    assert not torch.allclose(wanted, exact, atol=0.1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "cohere", "granite", "opt"])
def test_plain_heads_are_found(build: Callable[..., Any], tokenizer: Any, architecture: str) -> None:
    lm = LanguageModel.wrap(build(architecture), tokenizer)
    assert lm.flat and lm.plain_head


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("gpt2", {"resid_pdrop": 0.1, "attn_pdrop": 0.0, "embd_pdrop": 0.0}),
        ("gpt2", {"resid_pdrop": 0.0, "attn_pdrop": 0.1, "embd_pdrop": 0.0}),
        ("llama", {"attention_dropout": 0.1}),
        ("gpt_neox", {"hidden_dropout": 0.1}),
        ("opt", {"dropout": 0.1}),  # drawn by a function, not by a module
    ],
)
def test_where_dropout_is_drawn_rows_share_nothing(
    build: Callable[..., Any], tokenizer: Any, architecture: str, settings: dict[str, float]
) -> None:
    lm = LanguageModel.wrap(build(architecture, **settings), tokenizer)
    assert lm.flat
    assert lm.shares  # in evaluation mode there is none
    lm.model.train()
    assert not lm.shares
    assert lm.flat


@pytest.mark.parametrize(
    ("architecture", "off"),
    [
        ("llama", {}),
        ("gpt_neox", {}),
        ("gpt2", {"resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0}),
        ("opt", {"dropout": 0.0}),
    ],
)
def test_without_dropout_rows_share_in_training_too(
    build: Callable[..., Any], tokenizer: Any, architecture: str, off: dict[str, float]
) -> None:
    lm = LanguageModel.wrap(build(architecture, **off), tokenizer)
    lm.model.train()
    assert lm.shares


def test_dropout_of_an_adapter_counts(tiny: LanguageModel) -> None:
    for dropout in (0.0, 0.1):
        method = LoraConfig(rank=2, dropout=dropout).build()
        tiny.adapt(method)
        tiny.model.train()
        assert tiny.shares == (not dropout)
        tiny.restore(method)


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

    def restore(self, model: Any) -> nn.Module:
        base: nn.Module = model.get_base_model()
        return base


def test_how_a_model_runs_is_found_out_anew_where_a_method_changes_its_input(tiny: LanguageModel) -> None:
    method: Any = Prompts("PrefixTuningConfig")
    tiny.adapt(method)
    assert not (tiny.flat or tiny.plain_head or tiny.shares)
    tiny.restore(method)
    assert tiny.flat
    assert tiny.plain_head


def test_a_method_that_lengthens_the_input_is_refused(tiny: LanguageModel) -> None:
    method: Any = Prompts("PromptTuningConfig")
    with pytest.raises(ModelError, match="3 virtual tokens before the input"):
        tiny.adapt(method)
