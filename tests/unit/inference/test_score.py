from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from keeptune.batching.trie import Choices
from keeptune.inference.score import choice_logprobs, text_nats


def plain_logprob(lm: Any, prompt: list[int], completion: list[int]) -> float:
    """One sequence, one forward pass, transformers only."""
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logprobs = lm.model(ids).logits[0].log_softmax(-1)
    return float(sum(logprobs[len(prompt) - 1 + i, token] for i, token in enumerate(completion)))


def random_requests(n: int, seed: int = 0) -> list[Choices]:
    draw = random.Random(seed)

    def ids(low: int, high: int) -> list[int]:
        return [draw.randrange(3, 300) for _ in range(draw.randint(low, high))]

    return [Choices(ids(1, 25), [ids(1, 6) for _ in range(draw.randint(2, 5))]) for _ in range(n)]


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


def test_logit_budget_splits_batches(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from keeptune.inference import score

    requests = random_requests(6)
    whole = choice_logprobs(tiny, requests)
    monkeypatch.setattr(score, "LOGIT_BUDGET", 320 * 8)  # eight rows of logits
    seen: list[tuple[int, int]] = []
    parts = choice_logprobs(tiny, requests, progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 1
    assert seen[-1] == (6, 6)
    assert [value for sums in parts for value in sums] == pytest.approx([v for sums in whole for v in sums], abs=2e-4)


def test_no_requests_no_results(tiny: Any) -> None:
    assert choice_logprobs(tiny, []) == []
    assert text_nats(tiny, []) == []


def test_the_model_keeps_its_mode_and_gets_no_gradient(tiny: Any) -> None:
    tiny.model.train()
    choice_logprobs(tiny, random_requests(2))
    assert tiny.model.training
    assert all(parameter.grad is None for parameter in tiny.model.parameters())


def test_too_long_is_refused(tiny: Any) -> None:
    fits = Choices(list(range(3, 3 + 127)), [[5, 6]])  # the last token is never seen
    assert len(choice_logprobs(tiny, [fits])) == 1
    with pytest.raises(ValueError, match="shows the model 129 tokens, its context has 128"):
        choice_logprobs(tiny, [Choices(fits.prompt_ids, [[5, 6, 7]])])
    with pytest.raises(ValueError, match="129 tokens"):
        text_nats(tiny, [[3] * 130])
