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
from keeptune.methods.full import FullConfig
from keeptune.models.forward import target_logprobs
from keeptune.models.language_model import LanguageModel, hash_parameters


def test_facts(tiny: LanguageModel, tokenizer: Any) -> None:
    assert tiny.flat
    assert tiny.context == 128
    assert tiny.eos_ids == (tokenizer.eos_token_id,)
    assert tiny.device.type == "cpu"
    assert tiny.dtype == torch.float32
    assert not tiny.chat
    assert tiny.hash == hash_parameters(tiny.model)
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
    tree = target_logprobs(lm, choice_batch([Choices((5, 6, 7), [(8, 9), (10, 11)])]))
    torch.testing.assert_close(tree[:2], together[:2], rtol=1e-4, atol=1e-4)
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

    monkeypatch.setattr(attention, "block_attention", lambda q, k, v, mask, scale: torch.zeros_like(q))
    assert not LanguageModel.wrap(build("llama"), tokenizer).flat


def test_casting_a_model_does_not_round_its_rotary_frequencies(build: Callable[..., Any], tokenizer: Any) -> None:
    exact = build("llama").model.rotary_emb.inv_freq
    model = build("llama").to(torch.bfloat16)
    assert not torch.equal(model.model.rotary_emb.inv_freq.float(), exact)
    LanguageModel.wrap(model, tokenizer)
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)
    assert model.model.rotary_emb.original_inv_freq.dtype == torch.float32


def test_restore_gives_back_weights_and_name(tiny: LanguageModel) -> None:
    before, method = tiny.hash, FullConfig().build()
    tiny.adapt(method)
    assert tiny.hash is None
    with torch.no_grad():
        for parameter in tiny.model.parameters():
            parameter += 1
    tiny.restore(method)
    assert tiny.hash == before == hash_parameters(tiny.model)
    assert not any(p.requires_grad for p in tiny.model.parameters())
