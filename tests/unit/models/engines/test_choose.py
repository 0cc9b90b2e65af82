from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from keeptune.batching.trie import ScoringRequest, choice_batch, flat_batch
from keeptune.data.examples import Encoded
from keeptune.methods.lora import LoraConfig
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.engines.trie import TrieEngine
from keeptune.models.forward import flat_logits
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import target_logprobs, target_nll


def test_a_model_without_attention_runs_padded_and_says_so_once(
    build: Callable[..., Any], tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        lm = LanguageModel.wrap(build("mamba"), tokenizer, name="tiny-mamba")
    assert isinstance(lm.engine, PaddedEngine)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("keeptune")] == [
        f"tiny-mamba runs padded, which is slower: {caplog.records[-1].args[1]}"  # type: ignore[index]
    ]
    rows = [Encoded("a", (5, 6, 7), (8, 9)), Encoded("b", (10,), (11, 12, 13, 2))]
    together = target_logprobs(lm, flat_batch(rows))
    alone = torch.cat([target_logprobs(lm, flat_batch([row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    choices = choice_batch([ScoringRequest((5, 6, 7), [(8, 9), (10, 11)])])
    first = target_logprobs(lm, choices)[choices.examples == 0]
    torch.testing.assert_close(first, together[:2], rtol=1e-4, atol=1e-4)
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
    assert LanguageModel.wrap(model, tokenizer).engine.name == "flat"
    monkeypatch.setattr(modeling_gemma2.Gemma2Attention, "__init__", forgetful)
    assert LanguageModel.wrap(build("gemma2", sliding_window=5000), tokenizer).engine.name == "padded"


def test_wrong_logits_run_padded(build: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from keeptune.models import attention

    monkeypatch.setattr(attention, "block_attention", lambda q, *args, **kwargs: torch.zeros_like(q))
    assert LanguageModel.wrap(build("llama"), tokenizer).engine.name == "padded"


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
    assert isinstance(lm.engine, TrieEngine) and not lm.engine.plain_head
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
    assert isinstance(lm.engine, TrieEngine) and lm.engine.plain_head


def test_the_choice_leaves_the_modes_of_modules_and_draws_nothing(tiny: LanguageModel) -> None:
    """An adapter of peft comes in training mode, around a base that is not."""
    state, method = torch.get_rng_state(), LoraConfig(rank=2, dropout=0.5).build()
    expected = method.prepare(copy.deepcopy(tiny.model))
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    tiny.adapt(method)
    assert torch.equal(torch.get_rng_state(), after)
    modes = [module.training for module in tiny.model.modules()]
    assert modes == [module.training for module in expected.modules()] and len(set(modes)) == 2
    assert isinstance(tiny.engine, TrieEngine) and tiny.engine.plain_head


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral", "smollm3", "gemma2", "gemma3_text", "olmo2"])
def test_plain_last_layers_are_found(build: Callable[..., Any], tokenizer: Any, architecture: str) -> None:
    lm = LanguageModel.wrap(build(architecture), tokenizer)
    assert isinstance(lm.engine, TrieEngine) and lm.engine.plain_last_layer


@pytest.mark.parametrize("architecture", ["granite", "gpt2", "gpt_neox", "phi3", "opt"])
def test_a_last_layer_that_does_more_is_computed_whole(
    build: Callable[..., Any], tokenizer: Any, architecture: str
) -> None:
    """Granite has parts of the same names, and scales what they add; others have parts of other names."""
    lm = LanguageModel.wrap(build(architecture), tokenizer)
    with torch.no_grad():
        batch = flat_batch([Encoded("a", (5, 6, 7), (8, 9))])
        whole = flat_logits(lm, batch)
        assert torch.equal(lm.engine.logits(lm, batch), whole)
        cut = flat_logits(lm, batch, cut=True)
    assert torch.equal(cut, whole) == (architecture != "granite")
