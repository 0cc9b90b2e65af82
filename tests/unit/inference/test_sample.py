from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from keeptune.core.errors import ModelError
from keeptune.data.encode.encoder import Encoder
from keeptune.inference.generate import generate, sample
from keeptune.inference.self_replay import self_replay
from keeptune.models.language_model import LanguageModel

PROMPTS = [[5 + i % 7] * (1 + i % 5) for i in range(40)]
ENDS = tuple(range(20, 40))


@pytest.fixture
def mild(build: Callable[..., Any], tokenizer: Any) -> LanguageModel:
    """Logits of a few nats: many tokens are likely, the end token sometimes."""
    model = build("llama")
    with torch.no_grad():
        model.model.norm.weight.mul_(0.3)
    return LanguageModel.wrap(model, tokenizer)


def next_probabilities(lm: LanguageModel, rows: list[list[int]]) -> torch.Tensor:
    """[B, V] after rows of one length."""
    with torch.no_grad():
        return lm.model(torch.tensor(rows)).logits[:, -1].double().softmax(-1)


def fits(seen: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    """Pearson's test, rare values taken together."""
    rare = (expected > 0) & (expected < 5)
    assert not seen[expected == 0].any()
    cells = [
        (seen[at].sum(), expected[at].sum()) for at in (*np.flatnonzero(expected >= 5), rare) if expected[at].any()
    ]
    seen, expected = np.array(cells).T
    return bool(stats.chisquare(seen, expected).pvalue > 1e-6)


@pytest.mark.slow
def test_frequencies_of_two_tokens_are_the_models_probabilities(mild: LanguageModel) -> None:
    prompt, n = [9, 4, 30], 20_000
    got = sample(mild, [prompt] * n, 2, seed=0)
    first = next_probabilities(mild, [prompt])[0]
    size, end = len(first), mild.eos_ids[0]
    assert fits(np.bincount([ids[0] for ids in got], minlength=size), n * first.numpy())
    second = next_probabilities(mild, [[*prompt, token] for token in range(size)])
    goes_on = first.clone()
    goes_on[end] = 0.0
    expected = torch.cat([goes_on @ second, first[end : end + 1]])  # the last cell: there is no second token
    seen = np.bincount([ids[1] if len(ids) > 1 else size for ids in got], minlength=size + 1)
    assert seen[-1] == sum(ids == (end,) for ids in got) > 0
    assert fits(seen, n * expected.numpy())


@pytest.mark.parametrize("model", ["llama", "gpt2", "gemma3_text"])
def test_batches_change_nothing(model: str, build: Callable[..., Any], tokenizer: Any) -> None:
    lm = LanguageModel.wrap(build(model), tokenizer)
    got = sample(lm, PROMPTS, 12, seed=3, end_ids=ENDS)
    assert len({len(ids) for ids in got}) > 1
    for budget in (1, 60, 400):
        assert sample(lm, PROMPTS, 12, seed=3, end_ids=ENDS, token_budget=budget) == got
    assert sample(lm, PROMPTS[:7], 12, seed=3, end_ids=ENDS) == got[:7]
    assert [ids[:5] for ids in got] == sample(lm, PROMPTS, 5, seed=3, end_ids=ENDS)
    assert sample(lm, PROMPTS, 12, seed=4, end_ids=ENDS) != got
    with lm.using("padded"):
        for budget in (60, 4000):
            assert sample(lm, PROMPTS, 12, seed=3, end_ids=ENDS, token_budget=budget) == got


def test_what_ran_before_and_the_global_generator_do_not_matter(mild: LanguageModel) -> None:
    got = sample(mild, PROMPTS, 6, seed=1)
    state = torch.get_rng_state()
    torch.rand(5)
    sample(mild, PROMPTS, 6, seed=2)
    assert sample(mild, PROMPTS, 6, seed=1) == got
    torch.set_rng_state(state)
    sample(mild, PROMPTS, 6, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn from it


def test_a_fallback_begins_anew(mild: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from keeptune.models.generation import flat as engine

    def fails(*given: Any) -> Any:
        raise ModelError("no")

    got = sample(mild, PROMPTS, 6, seed=1)
    monkeypatch.setattr(engine, "decode_logits", fails)  # first tokens were drawn by then
    assert sample(mild, PROMPTS, 6, seed=1) == got


def test_end_tokens_are_kept(mild: LanguageModel) -> None:
    free = sample(mild, PROMPTS, 20, seed=0)
    ends = {*mild.eos_ids, more := free[0][1]}
    for engine in ("flat", "padded"):
        with mild.using(engine):
            got = sample(mild, PROMPTS, 20, seed=0, end_ids=(more,))
        for before, after in zip(free, got, strict=True):
            cut = next((n for n, token in enumerate(before, 1) if token in ends), 20)
            assert after == before[:cut]
        assert got[0][-1] == more
    assert any(len(ids) == 20 for ids in got)


def test_bad_requests_are_refused(mild: LanguageModel) -> None:
    with pytest.raises(ValueError, match="0 new tokens"):
        sample(mild, PROMPTS, 0, seed=0)
    with pytest.raises(ValueError, match="do not fit 128"):
        sample(mild, [[5] * 120], 9, seed=0)
    assert sample(mild, [], 3, seed=0) == []


def test_greedy_is_what_a_cold_model_samples(tiny: LanguageModel) -> None:
    with torch.no_grad():
        tiny.model.model.norm.weight.mul_(1e6)  # type: ignore[union-attr, operator]
    sampled = sample(tiny, PROMPTS, 8, seed=0)
    assert generate(tiny, PROMPTS, 8) == [ids[:-1] if ids[-1] in tiny.eos_ids else ids for ids in sampled]


def test_self_replay_makes_rows_from_the_start(mild: LanguageModel, tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=128)
    rows = self_replay(mild, [encoder.beginning] * 60, 40, seed=5, end_ids=(encoder.end_id,))
    assert len({row.id for row in rows}) == 60
    assert {row.prompt_ids for row in rows} == {(tokenizer.bos_token_id,)}
    assert len({row.completion_ids for row in rows}) > 50
    for row in rows:
        ended = row.completion_ids[-1] == encoder.end_id
        assert ended or len(row.completion_ids) == 40
        assert encoder.end_id not in row.completion_ids[:-1]
    assert {row.completion_ids[-1] == encoder.end_id for row in rows} == {True, False}
    again = self_replay(mild, [encoder.beginning] * 60, 40, seed=5, end_ids=(encoder.end_id,), token_budget=99)
    assert again == rows


def test_self_replay_continues_given_prompts(mild: LanguageModel) -> None:
    rows = self_replay(mild, PROMPTS, 5, seed=5)
    assert [list(row.prompt_ids) for row in rows] == PROMPTS
    assert [row.completion_ids for row in rows] == sample(mild, PROMPTS, 5, seed=5)
