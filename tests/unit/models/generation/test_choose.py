from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from keeptune.models.generation.choose import Sampler, likeliest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_likeliest_is_the_first_of_equal_ones(dtype: torch.dtype) -> None:
    logits = torch.randn(5, 999, generator=torch.Generator().manual_seed(0)).to(dtype)
    logits[0, 7] = logits[0, 70] = 50.0
    assert likeliest(logits).tolist() == logits.argmax(-1).tolist()
    assert likeliest(logits)[0] == 7


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_draws_follow_the_softmax(dtype: torch.dtype) -> None:
    logits = (3 * torch.randn(41, generator=torch.Generator().manual_seed(1))).to(dtype)
    logits[5] = -torch.inf
    drawn = Sampler(0)(logits.expand(100_000, -1), np.arange(100_000))
    seen = np.bincount(drawn, minlength=41)
    expected = 100_000 * logits.double().softmax(-1).numpy()
    assert seen[5] == 0
    large = expected >= 5
    seen, expected = (np.append(x[large], x[~large].sum()) for x in (seen, expected))
    assert stats.chisquare(seen, expected).pvalue > 1e-6


def test_the_draws_of_a_prompt_are_independent_of_one_another_and_of_other_prompts() -> None:
    sampler, logits = Sampler(3), torch.zeros(300, 2)
    drawn = np.stack([sampler(logits, np.arange(300)) for _ in range(300)])  # [step, prompt]
    for one, other in ((drawn[:-1], drawn[1:]), (drawn[:, :-1], drawn[:, 1:])):
        table = [[np.sum((one == x) & (other == y)) for y in (0, 1)] for x in (0, 1)]
        assert stats.chi2_contingency(table).pvalue > 1e-6


def test_the_rows_beside_a_prompt_do_not_matter() -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(2))
    prompts = np.array([3, 0, 7, 9])
    together = Sampler(5)(logits, prompts).tolist()
    turned = Sampler(5)(logits.flip(0), prompts[::-1].copy()).tolist()
    alone = [int(Sampler(5)(logits[i : i + 1], prompts[i : i + 1])[0]) for i in range(4)]
    assert together == turned[::-1] == alone


@pytest.mark.parametrize("size", [5, 6, 7, 8, 9])
def test_a_token_without_probability_is_never_drawn(size: int) -> None:
    logits = torch.full((4000, size), -torch.inf)
    logits[:, 2:4] = 0.0
    assert set(Sampler(0)(logits, np.arange(4000)).tolist()) == {2, 3}


def test_rounding_changes_a_draw_as_seldom_as_can_be() -> None:
    """No coupling of draws differs less often than the distributions do; each halving adds at most as much again."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2000, generator=generator).expand(10_000, -1)
    moved = logits + 1e-2 * torch.randn(logits.shape, generator=generator)
    prompts = np.arange(10_000)
    differ = np.mean(Sampler(0)(logits, prompts) != Sampler(0)(moved, prompts))
    distance = 0.5 * float((logits[:100].softmax(-1) - moved[:100].softmax(-1)).abs().sum(-1).mean())
    assert distance < differ < 11 * distance  # of 2,000 tokens 11 halvings


def test_one_token_needs_no_number() -> None:
    assert Sampler(0)(torch.zeros(3, 1), np.arange(3)).tolist() == [0, 0, 0]
