"""Answers do not depend on the prompts beside."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from keeptune.core.errors import ModelError
from keeptune.inference.generate import generate, sample
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.language_model import LanguageModel, evaluating

PROMPTS = [[5, 6, 7], [*range(40, 60)], [9], [*range(30, 37)], [7, 7, 8]]


@pytest.mark.parametrize("architecture", ["rwkv", "mamba", "mamba2", "falcon_mamba", "gpt2"])
def test_prompts_get_the_answer_that_they_get_alone(
    architecture: str, build: Callable[..., Any], tokenizer: Any
) -> None:
    lm = LanguageModel.wrap(build(architecture), tokenizer, name=architecture)
    with lm.using("padded"):
        together = generate(lm, PROMPTS, 6)
        assert together == [generate(lm, [prompt], 6)[0] for prompt in PROMPTS]
        assert sample(lm, PROMPTS, 4, seed=1) == sample(lm, PROMPTS, 4, seed=1)


def test_models_that_mix_rows_up_are_asked_one_by_one(
    build: Callable[..., Any], tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lm = LanguageModel.wrap(build("rwkv"), tokenizer, name="tiny-rwkv")
    assert isinstance(lm.engine, PaddedEngine)
    with evaluating(lm), caplog.at_level(logging.WARNING):
        assert not lm.engine.answers_together(lm)
        assert not lm.engine.answers_together(lm)
    assert caplog.text.count("tiny-rwkv answers prompts one by one") == 1


def test_a_cache_that_loses_something_is_refused(build: Callable[..., Any], tokenizer: Any) -> None:
    model = build("gpt2")
    lm = LanguageModel.wrap(model, tokenizer)
    embed = model.get_input_embeddings()
    embed.register_forward_hook(lambda module, inputs, states: states * (states.shape[1] > 1))
    failure = pytest.raises(ModelError, match="token by token, the model predicts something else")
    with lm.using("padded"), failure:
        generate(lm, PROMPTS, 4)
