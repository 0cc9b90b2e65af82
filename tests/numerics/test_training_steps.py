"""What must not change the gradient, and what the gradient must be."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from keeptune.batching.plan import micro_batches
from keeptune.batching.trie import flat_batch
from keeptune.data.examples import Encoded
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.objective import Forward, Objective, Term
from keeptune.train.optim import MasterAdamW
from keeptune.train.step import mean_nll, train_step

Rows = Callable[..., list[Encoded]]


class Recorder(MasterAdamW):
    """Keeps the summed gradients of the step instead of stepping."""

    def step(self, lr: float, clip: float) -> torch.Tensor:
        self.gradients = [m.grad.clone() for m in self.masters]
        return torch.zeros(())


def step_gradients(lm: LanguageModel, batches: list[Any]) -> tuple[float, list[torch.Tensor]]:
    lm.model.requires_grad_(True).zero_grad()
    optimizer = Recorder(lm.model.parameters())
    result = train_step(lm, batches, Objective(), optimizer, 0.1, 1.0)
    return float(result.loss), optimizer.gradients


def test_accumulation_is_invisible(tiny: LanguageModel, random_rows: Rows) -> None:
    rows = random_rows(8, longest=40)  # lengths differ, so a mean of micro-batch means would be another number
    once = step_gradients(tiny, [flat_batch(rows)])
    eightfold = step_gradients(tiny, [flat_batch([row]) for row in rows])
    assert once[0] == pytest.approx(eightfold[0], rel=1e-6)
    for a, b in zip(once[1], eightfold[1], strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_loss_equals_the_one_computed_by_hand(tiny: LanguageModel) -> None:
    row = Encoded("a", (10, 11, 12), (20, 21, 2))
    with torch.no_grad():
        logits = tiny.model(input_ids=torch.tensor([[10, 11, 12, 20, 21, 2]])).logits[0].double()
    expected = 0.0
    for position, label in ((2, 20), (3, 21), (4, 2)):  # the state before a token predicts it
        scores = logits[position].tolist()
        expected += math.log(sum(math.exp(s) for s in scores)) - scores[label]
    loss, _ = step_gradients(tiny, [flat_batch([row])])
    assert loss == pytest.approx(expected / 3, rel=1e-5)
    assert mean_nll(tiny, [row], 100) == pytest.approx(expected / 3, rel=1e-5)


def test_prompt_tokens_are_not_trained_on(tiny: LanguageModel) -> None:
    batch = flat_batch([Encoded("a", (10, 11, 12), (20, 21, 2)), Encoded("b", (), (30, 31, 2))])
    assert batch.labels.tolist() == [20, 21, 2, 31, 2]
    assert batch.weight == 5


def test_token_budget_changes_no_loss(tiny: LanguageModel, random_rows: Rows) -> None:
    rows = random_rows(10, seed=2, longest=40)
    losses = [step_gradients(tiny, micro_batches(rows, budget))[0] for budget in (30, 100, 10_000)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_padded_engine_takes_the_same_step(tiny: LanguageModel, random_rows: Rows) -> None:
    batches = micro_batches(random_rows(6), 200)
    flat = step_gradients(tiny, batches)
    with tiny.using("padded"):
        padded = step_gradients(tiny, batches)
    assert flat[0] == pytest.approx(padded[0], rel=1e-6)
    for a, b in zip(flat[1], padded[1], strict=True):
        assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_term_adds_its_sum_whatever_the_micro_batches(tiny: LanguageModel, random_rows: Rows) -> None:
    """A pull towards zero, as L2-SP would add it: once per step, whether in one micro-batch or in four."""

    class Pull(Term):
        def __call__(self, forward: Forward) -> torch.Tensor:
            squares = sum((p.float() ** 2).sum() for p in forward.lm.model.parameters())
            return squares * forward.batch.weight

    rows = random_rows(4)

    def gradients(batches: list[Any]) -> list[torch.Tensor]:
        tiny.model.requires_grad_(True).zero_grad()
        optimizer = Recorder(tiny.model.parameters())
        train_step(tiny, batches, Objective([Pull()]), optimizer, 0.1, 1.0)
        return optimizer.gradients

    plain = step_gradients(tiny, [flat_batch(rows)])[1]
    for got in (gradients([flat_batch(rows)]), gradients([flat_batch([row]) for row in rows])):
        for g, base, p in zip(got, plain, tiny.model.parameters(), strict=True):
            assert_close(g, base + 2 * p.detach(), rtol=1e-4, atol=1e-5)


def test_lora_starts_at_the_base(tiny: LanguageModel, random_rows: Rows) -> None:
    rows = random_rows(5)
    before = mean_nll(tiny, rows, 1000)
    method = LoraConfig(rank=4).build()
    tiny.adapt(method)
    assert mean_nll(tiny, rows, 1000) == before
    tiny.restore(method)
    assert mean_nll(tiny, rows, 1000) == before


def test_bf16_with_masters_follows_float32(build: Callable[..., Any], tokenizer: Any, random_rows: Rows) -> None:
    """Twenty small steps: bf16 weights alone would round most of them away."""
    rows, losses, moved = random_rows(8), {}, {}
    start = build("llama").bfloat16()
    for dtype in (torch.float32, torch.bfloat16):
        lm = LanguageModel.wrap(copy.deepcopy(start).to(dtype), tokenizer)
        lm.model.requires_grad_(True)
        optimizer = MasterAdamW(lm.model.parameters())
        for _ in range(20):
            result = train_step(lm, [flat_batch(rows)], Objective(), optimizer, 2e-4, 1.0)
        losses[dtype] = float(result.loss)
        moved[dtype] = torch.cat([m.detach().flatten() for m in optimizer.masters])
        assert all(p.dtype == dtype for p in lm.model.parameters())
    first = torch.cat([p.detach().float().flatten() for p in start.parameters()])
    a, b = moved[torch.float32] - first, moved[torch.bfloat16] - first
    assert float(torch.cosine_similarity(a, b, dim=0)) > 0.95
    assert losses[torch.bfloat16] == pytest.approx(losses[torch.float32], abs=0.02)
