"""Loss and gradients of token tries against transformers' own forward pass, one sequence at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from keeptune.batching.padded import unfold
from keeptune.batching.plan import micro_batches
from keeptune.batching.trie import flat_batch
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded
from keeptune.models.engines.trie import TrieEngine
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import target_nll

Rows = Callable[..., list[Encoded]]
ARCHITECTURES = ["llama", "qwen3", "gpt2", "gpt_neox", "mistral", "gemma3_text", "gemma2", "cohere", "granite"]
LONGEST = 60  # several times the windows of mistral, gemma2 and gemma3_text
BUDGETS = [1, 60, 150, 10_000]


@pytest.fixture(params=ARCHITECTURES)
def lm(request: pytest.FixtureRequest, build: Callable[..., Any], tokenizer: Any) -> LanguageModel:
    wrapped = LanguageModel.wrap(build(request.param), tokenizer, name=request.param)
    assert isinstance(wrapped.engine, TrieEngine) and wrapped.engine.plain_head
    wrapped.model.requires_grad_(True)
    return wrapped


def rows_of(branching_rows: Rows, seed: int) -> list[Encoded]:
    rows = branching_rows(9, seed=seed, longest=LONGEST)
    return [*rows, rows[0], rows[0], Encoded("free", (), (5, 6, 7, 8, 9))]


def gradients(lm: LanguageModel) -> dict[str, Tensor]:
    found = {name: p.grad.double() for name, p in lm.model.named_parameters() if p.grad is not None}
    lm.model.zero_grad()
    return found


def separate(lm: LanguageModel, rows: Sequence[Encoded]) -> tuple[float, dict[str, Tensor]]:
    """Summed loss and its gradients with transformers' own labels; the sums over rows are formed in float64."""
    total, summed = 0.0, {}
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
        labels = ids.clone()
        labels[0, : len(row.prompt_ids)] = -100
        loss = lm.model(input_ids=ids, labels=labels).loss * (len(row.completion_ids) - (not row.prompt_ids))
        loss.backward()
        total += loss.item()
        for name, gradient in gradients(lm).items():
            summed[name] = summed[name] + gradient if name in summed else gradient
    return total, summed


def together(lm: LanguageModel, batches: Sequence[TrieBatch]) -> tuple[float, dict[str, Tensor]]:
    total, summed = 0.0, {}
    for batch in batches:
        loss = target_nll(lm, batch)
        loss.backward()
        total += loss.item()
        for name, gradient in gradients(lm).items():
            summed[name] = summed[name] + gradient if name in summed else gradient
    return total, summed


def distance(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """L2 distance over all tensors, relative to the length of ``wanted``."""
    assert got.keys() == wanted.keys()
    apart = sum(float((got[name] - wanted[name]).square().sum()) for name in wanted)
    return (apart / sum(float(gradient.square().sum()) for gradient in wanted.values())) ** 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_float32_equals_separate_sequences(lm: LanguageModel, branching_rows: Rows, seed: int) -> None:
    """Loss to 1e-6, every gradient tensor to 1e-5 of its length (L2), whatever the micro-batches."""
    rows = rows_of(branching_rows, seed)
    loss, wanted = separate(lm, rows)
    computed = []
    for budget in BUDGETS:
        batches = micro_batches(rows, budget)
        computed.append(sum(len(batch.input_ids) for batch in batches))
        ours, got = together(lm, batches)
        assert ours == pytest.approx(loss, rel=1e-6)
        assert got.keys() == wanted.keys()
        for name, gradient in wanted.items():
            assert float((got[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-9, name
    assert computed[-1] < 0.9 * sum(len(row) - 1 for row in rows)  # something was shared


def test_bfloat16_is_as_near_as_autocast(lm: LanguageModel, branching_rows: Rows) -> None:
    rows = rows_of(branching_rows, 2)
    _, exact = together(lm, micro_batches(rows, 10_000))
    flat = flat_batch(rows)
    padded = unfold(flat)
    with torch.autocast("cpu", torch.bfloat16):
        logits = lm.model(padded.input_ids, attention_mask=padded.attention_mask, use_cache=False).logits
    kept = logits[padded.kept[:, 0], padded.kept[:, 1]].float()
    torch.nn.functional.cross_entropy(kept[flat.sources], flat.labels, reduction="sum").backward()
    autocast = gradients(lm)
    rounded = LanguageModel.wrap(copy.deepcopy(lm.model).bfloat16(), lm.tokenizer)
    assert isinstance(rounded.engine, TrieEngine) and rounded.engine.plain_head
    _, ours = together(rounded, micro_batches(rows, 10_000))
    assert distance(ours, exact) <= 1.5 * distance(autocast, exact)
