"""The flat path against transformers' own forward pass on padded rows, for every kind of attention that it claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from keeptune.batching.trie import ScoringRequest, choice_batch, flat_batch
from keeptune.data.examples import Encoded
from keeptune.models.forward import padded_logits
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import logits, target_logprobs

ARCHITECTURES = ["llama", "gpt2", "qwen3", "gemma2"]
Rows = Callable[..., list[Encoded]]


@pytest.fixture(params=ARCHITECTURES)
def lm(request: pytest.FixtureRequest, build: Callable[..., Any], tokenizer: Any) -> LanguageModel:
    off = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0} if request.param == "gpt2" else {}
    wrapped = LanguageModel.wrap(build(request.param, **off), tokenizer, name=request.param)
    assert wrapped.engine.name == "flat"
    return wrapped


def transformers_loss(lm: LanguageModel, rows: list[Encoded]) -> torch.Tensor:
    """Sum of completion losses with transformers' own labels, one row at a time: nothing of ours takes part."""
    total = torch.zeros(())
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
        labels = ids.clone()
        labels[0, : len(row.prompt_ids)] = -100
        for start, stop in row.gaps:
            labels[0, len(row.prompt_ids) + start : len(row.prompt_ids) + stop] = -100
        targets = row.trained - (not row.prompt_ids)
        total = total + lm.model(input_ids=ids, labels=labels).loss * targets
    return total


def gradients(lm: LanguageModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    lm.model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in lm.model.named_parameters() if p.grad is not None}


def test_loss_and_gradients_equal_those_of_transformers(lm: LanguageModel, random_rows: Rows) -> None:
    rows = [*random_rows(7, longest=60), Encoded("free", (), (5, 6, 7, 8, 9))]
    rows += [replace(row, gaps=((1, 2), (3, 5))) for row in rows if len(row.completion_ids) > 5]
    assert sum(bool(row.gaps) for row in rows) > 2
    lm.model.requires_grad_(True)
    ours = -target_logprobs(lm, flat_batch(rows)).sum()
    theirs = transformers_loss(lm, rows)
    assert_close(ours, theirs, rtol=1e-5, atol=1e-4)
    got, expected = gradients(lm, ours), gradients(lm, theirs)
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert_close(got[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()) + 1e-7, msg=name)


def test_padded_logits_equal_flat_ones(lm: LanguageModel, random_rows: Rows) -> None:
    batch = flat_batch(random_rows(9, seed=3, longest=80))
    assert_close(logits(lm, batch), padded_logits(lm, batch), rtol=1e-4, atol=1e-4)


def test_choice_tree_equals_separate_sequences(lm: LanguageModel) -> None:
    requests = [
        ScoringRequest(tuple(range(10, 40)), [(50,), (51, 52, 53), (51, 60, 61, 62, 63, 64)]),
        ScoringRequest((7, 8), [(70, 71, 72, 73, 74, 75, 76, 77, 78), (80,)]),
        ScoringRequest((9,), [(81,)]),
    ]
    batch = choice_batch(requests)
    got = torch.zeros(6).index_add(0, batch.examples, target_logprobs(lm, batch))
    rows = [Encoded("x", tuple(r.prompt_ids), tuple(c)) for r in requests for c in r.choices]
    expected = torch.stack([-transformers_loss(lm, [row]) for row in rows])
    assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert len(batch.input_ids) < sum(map(len, rows))  # the prompt was computed once


def test_a_row_does_not_depend_on_its_neighbours(lm: LanguageModel, random_rows: Rows) -> None:
    rows = random_rows(6, seed=5, longest=40)
    together = target_logprobs(lm, flat_batch(rows))
    alone = torch.cat([target_logprobs(lm, flat_batch([row])) for row in rows])
    assert_close(together, alone, rtol=1e-4, atol=1e-4)
