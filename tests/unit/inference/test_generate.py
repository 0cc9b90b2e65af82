from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from keeptune.inference.generate import generate, stream
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.language_model import LanguageModel


def random_prompts(n: int, longest: int = 30) -> list[list[int]]:
    draw = random.Random(5)
    return [[draw.randrange(3, 300) for _ in range(draw.randint(1, longest))] for _ in range(n)]


def one_by_one(lm: Any, prompt: list[int], new: int) -> list[int]:
    """Greedy with full forward passes: no cache, no padding."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(new):
            token = int(lm.model(torch.tensor([ids])).logits[0, -1].argmax())
            if token in lm.eos_ids:
                break
            ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("model", ["tiny", "tiny_gpt2"])
@pytest.mark.parametrize("token_budget", [1, 150, 10_000])
def test_batched_equals_one_by_one(model: str, token_budget: int, request: pytest.FixtureRequest) -> None:
    lm = request.getfixturevalue(model)
    prompts = random_prompts(9)
    got = generate(lm, prompts, 12, token_budget=token_budget)
    assert [list(ids) for ids in got] == [one_by_one(lm, prompt, 12) for prompt in prompts]


def test_equals_transformers_generate(tiny: Any) -> None:
    for prompt in random_prompts(4):
        ids = torch.tensor([prompt])
        theirs = tiny.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        new = [token for token in theirs[0, len(prompt) :].tolist() if token not in tiny.eos_ids]
        assert list(generate(tiny, [prompt], 8)[0]) == new


def test_every_end_token_ends_and_is_left_out(tiny: Any) -> None:
    prompt = random_prompts(1)[0]
    free = generate(tiny, [prompt], 10)[0]
    end = free[4]
    assert generate(tiny, [prompt], 10, end_ids=(end,))[0] == free[: free.index(end)]


def test_stop_text_ends_a_row_and_leaves_the_others_alone(tiny: Any) -> None:
    prompts = random_prompts(6)
    free = generate(tiny, prompts, 20)
    stop = tiny.tokenizer.decode([free[0][3]])
    stopped = generate(tiny, prompts, 20, stop=(stop,))
    for before, after in zip(free, stopped, strict=True):
        assert after == before[: len(after)]
        if len(after) < len(before):
            assert stop in tiny.tokenizer.decode(after)
            assert stop not in tiny.tokenizer.decode(after[:-1])
        else:
            assert stop not in tiny.tokenizer.decode(before)
    assert len(stopped[0]) <= 4


def test_the_models_own_settings_do_not_count(tiny: Any) -> None:
    prompts = random_prompts(4)
    plain = generate(tiny, prompts, 12)
    own = tiny.model.generation_config
    own.do_sample, own.temperature, own.repetition_penalty, own.min_new_tokens = True, 5.0, 9.0, 12
    assert generate(tiny, prompts, 12) == plain
    assert tiny.model.generation_config is own


def test_no_room_is_refused(tiny: Any) -> None:
    with pytest.raises(ValueError, match="120 tokens and 9 new ones do not fit 128"):
        generate(tiny, [[5] * 120], 9)
    with pytest.raises(ValueError, match="0 tokens"):
        generate(tiny, [[]], 9)
    assert generate(tiny, [], 9) == []


def test_limits_per_prompt(tiny: Any) -> None:
    prompts = random_prompts(5)
    free = generate(tiny, prompts, 12)
    limits = [1, 12, 3, 7, 2]
    assert generate(tiny, prompts, 12, limits=limits) == [ids[:n] for ids, n in zip(free, limits, strict=True)]
    for wrong in ([1] * 4, [0, *limits[1:]], [13, *limits[1:]]):
        with pytest.raises(ValueError, match="between 1 and 12"):
            generate(tiny, prompts, 12, limits=wrong)
    assert len(generate(tiny, [[5] * 120], 9, limits=[8])[0]) <= 8  # the limit counts, not the 9


@pytest.mark.filterwarnings("ignore:.*fast path.*")
def test_a_model_with_a_state_is_padded(build: Callable[..., Any], tokenizer: Any) -> None:
    lm = LanguageModel.wrap(build("mamba"), tokenizer)
    prompts = [prompt * 2 for prompt in random_prompts(3, longest=1)]  # of equal length: nothing is padded
    assert lm.engine.name == "padded"
    got = generate(lm, prompts, 6, limits=[6, 2, 6])
    expected = [one_by_one(lm, prompt, 6) for prompt in prompts]
    assert [list(ids) for ids in got] == [expected[0], expected[1][:2], expected[2]]


def test_what_cannot_be_cached_is_padded(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = random_prompts(4)
    plain = generate(tiny, prompts, 5)
    for module in tiny.model.modules():
        if hasattr(module, "layer_idx"):
            monkeypatch.setattr(module, "layer_idx", 0)
    with caplog.at_level(logging.WARNING):
        monkeypatch.setattr(PaddedEngine, "generate", lambda *given: plain)
        assert generate(tiny, prompts, 5) == plain
    assert "generates padded" in caplog.text


def test_bf16_mostly_agrees(build: Callable[..., Any], tokenizer: Any) -> None:
    lm = LanguageModel.wrap(build("llama").to(torch.bfloat16), tokenizer)
    prompts = random_prompts(12)
    got = generate(lm, prompts, 3, token_budget=150)
    same = sum(list(a) == one_by_one(lm, p, 3) for a, p in zip(got, prompts, strict=True))
    assert same >= 9  # the best two logits may change places


def test_progress_counts_prompts(tiny: Any) -> None:
    seen: list[tuple[int, int]] = []
    generate(tiny, random_prompts(5), 4, token_budget=40, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert len(seen) > 1


def test_adapted_models_generate_with_their_adapter(tiny: Any) -> None:
    from keeptune.methods.lora import Lora, LoraConfig

    prompts = random_prompts(4)
    plain = generate(tiny, prompts, 12)
    method = Lora(LoraConfig(rank=2))
    tiny.adapt(method)
    assert generate(tiny, prompts, 12) == plain  # an adapter starts as nothing
    with torch.no_grad():
        for name, parameter in tiny.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    changed = generate(tiny, prompts, 12)
    assert changed != plain
    assert [list(ids) for ids in changed] == [one_by_one(tiny, prompt, 12) for prompt in prompts]
    tiny.restore(method)
    assert generate(tiny, prompts, 12) == plain


@pytest.mark.parametrize("model", ["tiny", "tiny_gpt2"])
@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_a_stream_tells_what_generate_answers(model: str, engine: str, request: pytest.FixtureRequest) -> None:
    lm = request.getfixturevalue(model)
    for prompt in random_prompts(4):
        free = generate(lm, [prompt], 12)[0]
        stop, end = lm.tokenizer.decode([free[6]]), free[8]
        with lm.using(engine):
            for settings in ({}, {"stop": (stop,)}, {"end_ids": (end,)}):
                told: list[int] = []
                found = stream(lm, prompt, 12, lambda token, told=told: not told.append(token), **settings)
                assert tuple(told) == found == generate(lm, [prompt], 12, **settings)[0]


@pytest.mark.parametrize("engine", ["flat", "padded"])
def test_a_stream_ends_where_it_is_told_to(tiny: Any, engine: str) -> None:
    prompt = random_prompts(1)[0]
    free, told = generate(tiny, [prompt], 12)[0], []
    with tiny.using(engine):
        assert stream(tiny, prompt, 12, lambda token: told.append(token) or len(told) < 3) == free[:3] == tuple(told)
    with pytest.raises(ValueError, match="do not fit 128 tokens"):
        stream(tiny, prompt, 128, lambda token: True)
