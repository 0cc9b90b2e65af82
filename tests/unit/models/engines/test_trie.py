from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from keeptune.methods.lora import LoraConfig
from keeptune.models.engines.trie import TrieEngine
from keeptune.models.language_model import LanguageModel


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
    build: Callable[..., Any],
    tokenizer: Any,
    caplog: pytest.LogCaptureFixture,
    architecture: str,
    settings: dict[str, float],
) -> None:
    lm = LanguageModel.wrap(build(architecture, **settings), tokenizer)
    assert isinstance(lm.engine, TrieEngine)
    assert lm.engine.dropout.shares(lm)  # in evaluation mode there is none
    lm.model.train()
    with caplog.at_level(logging.WARNING):
        assert not lm.engine.dropout.shares(lm)
        assert not lm.engine.dropout.shares(lm)
    assert caplog.text.count("trains with dropout") == 1


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
    assert isinstance(lm.engine, TrieEngine)
    assert lm.engine.dropout.shares(lm)


def test_dropout_of_an_adapter_counts(tiny: LanguageModel) -> None:
    for dropout in (0.0, 0.1):
        method = LoraConfig(rank=2, dropout=dropout).build()
        tiny.adapt(method)
        tiny.model.train()
        assert isinstance(tiny.engine, TrieEngine)
        assert tiny.engine.dropout.shares(tiny) == (not dropout)
        tiny.restore(method)
