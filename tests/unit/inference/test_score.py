from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from keeptune.batching.trie import WORTH, ScoringRequest
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import choice_logprobs, ranked_logprobs, row_nats, text_nats
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.engines.trie import KEPT_PREFIX, TrieEngine
from keeptune.models.language_model import LanguageModel


def plain_logprob(lm: Any, prompt: list[int], completion: list[int]) -> float:
    """One sequence, one forward pass, transformers only."""
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logprobs = lm.model(ids).logits[0].log_softmax(-1)
    return float(sum(logprobs[len(prompt) - 1 + i, token] for i, token in enumerate(completion)))


def values(sums: Sequence[tuple[float, ...]]) -> list[float]:
    return [value for each in sums for value in each]


def random_requests(n: int, seed: int = 0) -> list[ScoringRequest]:
    draw = random.Random(seed)

    def ids(low: int, high: int) -> list[int]:
        return [draw.randrange(3, 300) for _ in range(draw.randint(low, high))]

    return [ScoringRequest(ids(1, 25), [ids(1, 6) for _ in range(draw.randint(2, 5))]) for _ in range(n)]


@pytest.mark.parametrize("model", ["tiny", "tiny_gpt2"])
@pytest.mark.parametrize("token_budget", [1, 64, 10_000])
def test_choices_equal_one_forward_per_choice(model: str, token_budget: int, request: pytest.FixtureRequest) -> None:
    lm = request.getfixturevalue(model)
    requests = random_requests(12)
    got = choice_logprobs(lm, requests, token_budget=token_budget)
    for given, sums in zip(requests, got, strict=True):
        expected = [plain_logprob(lm, list(given.prompt_ids), list(choice)) for choice in given.choices]
        assert sums == pytest.approx(expected, abs=2e-4)


def test_text_equals_one_plain_forward(tiny: Any) -> None:
    draw = random.Random(1)
    texts = [[draw.randrange(3, 300) for _ in range(length)] for length in (2, 40, 7, 120)]
    expected = [-plain_logprob(tiny, text[:1], text[1:]) for text in texts]
    assert text_nats(tiny, texts, token_budget=50) == pytest.approx(expected, abs=1e-3)


def test_chunks_of_logits_change_nothing(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from keeptune.models import head

    requests = random_requests(6)
    whole = choice_logprobs(tiny, requests)
    monkeypatch.setattr(head, "CHUNK", 320 * 2)  # two rows of logits
    made: list[int] = []
    original = head.Head.logits
    monkeypatch.setattr(head.Head, "logits", lambda self, x: made.append(len(x)) or original(self, x))
    assert values(choice_logprobs(tiny, requests)) == pytest.approx(values(whole), abs=1e-5)
    assert max(made) == 2 and len(made) > 10


def test_progress_counts_choices(tiny: Any) -> None:
    requests, seen = random_requests(6), []
    choice_logprobs(tiny, requests, token_budget=40, progress=lambda done, total: seen.append((done, total)))
    total = sum(len(request.choices) for request in requests)
    assert len(seen) > 1
    assert seen == sorted(seen) and seen[-1] == (total, total)


def few_shot(n: int, shared: int, seed: int = 0) -> list[ScoringRequest]:
    """Requests that begin with the same ``shared`` tokens."""
    draw = random.Random(seed)
    shots = [draw.randrange(3, 300) for _ in range(shared)]
    return [ScoringRequest([*shots, *request.prompt_ids], request.choices) for request in random_requests(n, seed)]


@pytest.fixture
def computed(tiny: Any) -> Iterator[list[list[int]]]:
    """The token ids of every forward pass."""
    seen: list[list[int]] = []
    hook = tiny.model.get_input_embeddings().register_forward_pre_hook(lambda _, x: seen.append(x[0][0].tolist()))
    yield seen
    hook.remove()


@pytest.mark.parametrize("model", ["tiny", "tiny_gpt2", "mistral", "gemma3_text"])
@pytest.mark.parametrize("shared", [KEPT_PREFIX - 1, KEPT_PREFIX, 70])
def test_shared_demonstrations_change_nothing(
    model: str, shared: int, request: pytest.FixtureRequest, build: Callable[..., Any], tokenizer: Any
) -> None:
    lm = request.getfixturevalue(model) if "tiny" in model else LanguageModel.wrap(build(model), tokenizer)
    assert isinstance(lm.engine, TrieEngine) and lm.engine.plain_head
    requests = few_shot(8, shared)
    for budget in (60, 10_000):
        got = choice_logprobs(lm, requests, token_budget=budget)
        for given, sums in zip(requests, got, strict=True):
            expected = [plain_logprob(lm, list(given.prompt_ids), list(choice)) for choice in given.choices]
            assert sums == pytest.approx(expected, abs=2e-4)


def test_the_shared_prefix_is_computed_once(tiny: Any, computed: list[list[int]]) -> None:
    requests = few_shot(12, 50)
    prefix = list(requests[0].prompt_ids[:50])
    choice_logprobs(tiny, requests, token_budget=60)
    assert len(computed) > 3
    assert computed[0] == prefix
    assert not any(set(prefix[i : i + 8]) <= set(ids) for ids in computed[1:] for i in (0, 20, 42))
    longest = max(len(r.prompt_ids) - 50 + len(choice) for r in requests for choice in r.choices)
    assert all(len(ids) <= max(60 + 2 * WORTH, longest) for ids in computed[1:])


def test_a_short_prefix_is_not_kept(tiny: Any, computed: list[list[int]]) -> None:
    choice_logprobs(tiny, few_shot(12, KEPT_PREFIX - 1), token_budget=10_000)
    assert len(computed) == 1


def test_a_prompt_may_go_on_where_another_ends(tiny: Any) -> None:
    """The kept prefix ends in front of every state that predicts: here, one token before the shortest prompt's end."""
    draw = random.Random(3)
    ids = [draw.randrange(3, 300) for _ in range(60)]
    requests = [
        ScoringRequest(ids[:40], [ids[40:42], [7]]),
        ScoringRequest(ids, [[8], [9, 10]]),
        ScoringRequest(ids[:41], [ids[41:50]]),
    ]
    requests += [ScoringRequest(ids[:40], [[7]])]  # and one asked twice
    got = choice_logprobs(tiny, requests)
    expected = [plain_logprob(tiny, list(r.prompt_ids), list(choice)) for r in requests for choice in r.choices]
    assert values(got) == pytest.approx(expected, abs=2e-4)


def test_one_token_choices_are_read_from_one_state(tiny: Any, computed: list[list[int]]) -> None:
    prompts = [list(request.prompt_ids) for request in random_requests(6)]
    requests = [ScoringRequest(prompt, [[token] for token in range(5, 15)]) for prompt in prompts]
    got = choice_logprobs(tiny, requests)
    assert sum(map(len, computed)) <= sum(map(len, prompts))
    expected = [plain_logprob(tiny, prompt, [token]) for prompt in prompts for token in range(5, 15)]
    assert values(got) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("model", ["tiny", "tiny_gpt2"])
def test_the_budget_changes_nothing(model: str, request: pytest.FixtureRequest) -> None:
    lm = request.getfixturevalue(model)
    draw = random.Random(5)
    shots = [draw.randrange(3, 300) for _ in range(40)]
    texts = [[*shots, *(draw.randrange(3, 300) for _ in range(draw.randint(1, 60)))] for _ in range(8)]
    asked = [*few_shot(6, 45), *few_shot(6, 45, seed=0)]
    whole, nats = choice_logprobs(lm, asked), text_nats(lm, texts)
    for budget in (1, 50, 200):
        assert values(choice_logprobs(lm, asked, token_budget=budget)) == pytest.approx(values(whole), abs=2e-4)
        assert text_nats(lm, texts, token_budget=budget) == pytest.approx(nats, abs=1e-3)


def test_texts_that_begin_alike_equal_one_plain_forward_each(tiny: Any) -> None:
    draw = random.Random(2)
    shared = [draw.randrange(3, 300) for _ in range(50)]
    texts = [shared, shared[:30], [*shared, 9, 8], [*shared, 9, 7, 6], shared]
    expected = [-plain_logprob(tiny, text[:1], text[1:]) for text in texts]
    assert text_nats(tiny, texts) == pytest.approx(expected, abs=1e-3)


def test_models_that_run_padded_score_the_same(tiny: Any) -> None:
    requests = few_shot(5, 40)
    flat = values(choice_logprobs(tiny, requests))
    with tiny.using("padded"):
        assert values(choice_logprobs(tiny, requests, token_budget=150)) == pytest.approx(flat, abs=2e-4)


@pytest.mark.parametrize("shared", [0, 3, KEPT_PREFIX + 8])
def test_rows_with_gaps_are_scored_where_they_are_supervised(tiny: Any, shared: int) -> None:
    draw = random.Random(4)
    stem = tuple(draw.randrange(3, 300) for _ in range(shared))
    drawn = [tuple(draw.randrange(3, 300) for _ in range(14)) for _ in range(3)]
    gaps: list[tuple[tuple[int, int], ...]] = [((2, 5),), ((1, 3), (4, 8)), ()]
    rows = [Encoded("r", (*stem, *ids[:5]), ids[5:], gap) for ids, gap in zip(drawn, gaps, strict=True)]
    expected = []
    for row in rows:
        ids, start = [*row.prompt_ids, *row.completion_ids], len(row.prompt_ids)
        places = [start + at for a, b in row.spans for at in range(a, b)]
        expected.append(-sum(plain_logprob(tiny, ids[:at], ids[at : at + 1]) for at in places))
    assert row_nats(tiny, rows) == pytest.approx(expected, abs=2e-4)
    with tiny.using("padded"):
        assert row_nats(tiny, rows) == pytest.approx(expected, abs=2e-4)


def test_no_requests_no_results(tiny: Any) -> None:
    assert choice_logprobs(tiny, []) == []
    assert text_nats(tiny, []) == []


def test_the_model_keeps_its_mode_and_gets_no_gradient(tiny: Any) -> None:
    tiny.model.train()
    choice_logprobs(tiny, random_requests(2))
    assert tiny.model.training
    assert all(parameter.grad is None for parameter in tiny.model.parameters())


def test_too_long_is_refused(tiny: Any) -> None:
    fits = ScoringRequest(list(range(3, 3 + 127)), [[5, 6]])  # the last token is never seen
    assert len(choice_logprobs(tiny, [fits])) == 1
    with pytest.raises(ValueError, match="shows the model 129 tokens, its context has 128"):
        choice_logprobs(tiny, [ScoringRequest(fits.prompt_ids, [[5, 6, 7]])])
    with pytest.raises(ValueError, match="129 tokens"):
        text_nats(tiny, [[3] * 130])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("model", ["tiny", "tiny_gpt2"])
def test_ranked_choices_say_what_greedy_decoding_says(
    model: str, padded: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keeptune.models import head

    monkeypatch.setattr(head, "CHUNK", 320 * 3)  # three rows of logits
    lm = request.getfixturevalue(model)
    if padded:
        lm = replace(lm, base_engine=PaddedEngine())
    prompts = [each.prompt_ids for each in random_requests(10)]
    greedy = [list(ids) for ids in generate(lm, prompts, 4)]
    other = [[*ids[:-1], ids[-1] % 300 + 3] for ids in greedy]  # one token away from it, the last
    requests = [ScoringRequest(p, [g, o, g[:1]]) for p, g, o in zip(prompts, greedy, other, strict=True)]
    ranked = ranked_logprobs(lm, requests, token_budget=60)
    assert [[likeliest for _, likeliest in each] for each in ranked] == [[True, False, True]] * 10
    plain = choice_logprobs(lm, requests, token_budget=60)
    assert values([tuple(value for value, _ in each) for each in ranked]) == pytest.approx(values(plain), abs=1e-5)
