"""The chunked head against logits made at once and torch's own log-softmax."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from keeptune.batching import trie
from keeptune.batching.trie import flat_batch, row_paths
from keeptune.batching.types import TrieBatch
from keeptune.data.examples import Encoded
from keeptune.methods.lora import LoraConfig
from keeptune.models import head as head_module
from keeptune.models.engines.trie import TrieEngine
from keeptune.models.forward import flat_logits, gather_logprobs, hidden_states
from keeptune.models.head import Head
from keeptune.models.language_model import LanguageModel
from keeptune.models.outputs import target_logprobs, target_nll

Rows = Callable[..., list[Encoded]]
VOCABULARY, WIDTH = 40, 8


def targets() -> TrieBatch:
    """Rows with up to four targets each, of different weights."""
    draw = random.Random(0)
    rows = [Encoded("x", (3,), tuple(draw.randrange(3, 6) for _ in range(draw.randint(1, 4)))) for _ in range(60)]
    batch = trie.build(row_paths(rows), merge=True)
    assert len(batch.labels) > len(batch.rows) > 6
    assert batch.weights.max() > batch.weights.min() == 1
    return batch


def linear(bias: bool, dtype: torch.dtype = torch.float64) -> nn.Linear:
    made = nn.Linear(WIDTH, VOCABULARY, bias=bias, dtype=dtype)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return made


def states(batch: TrieBatch, dtype: torch.dtype = torch.float64) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.randn(len(batch.rows), WIDTH, generator=draw, dtype=torch.float64).to(dtype).requires_grad_()


def plain_logprobs(hidden: Tensor, layer: nn.Linear, scale: float, softcap: float | None, batch: TrieBatch) -> Tensor:
    logits = F.linear(hidden, layer.weight, layer.bias) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits.log_softmax(-1)[batch.sources, batch.labels]


@pytest.fixture(params=[1, 2, 5, 10_000], ids=lambda rows: f"chunks of {rows}")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(head_module, "CHUNK", request.param * VOCABULARY)
    return int(request.param)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.3, None), (1.0, 2.0), (0.6, 3.0)])
def test_loss_and_gradients_are_those_of_log_softmax(
    chunk: int, bias: bool, scale: float, softcap: float | None
) -> None:
    batch, layer = targets(), linear(bias)
    head, hidden = Head(nn.Identity(), layer, scale, softcap), states(batch)
    wanted = plain_logprobs(hidden, layer, scale, softcap, batch)
    assert_close(head.logprobs(hidden, batch), wanted.detach().float())
    loss, reference = head.nll(hidden, batch, 0.25), -(wanted * batch.weights).sum() * 0.25
    assert_close(loss, reference.float())
    leaves = [hidden, *layer.parameters()]
    for upstream in (1.0, 3.0):
        got = torch.autograd.grad(loss * upstream, leaves, retain_graph=True)
        expected = torch.autograd.grad(reference * upstream, leaves, retain_graph=True)
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.dtype == theirs.dtype
            assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # sums over chunks are formed in float32


def test_what_is_frozen_gets_no_gradient(chunk: int) -> None:
    batch, layer = targets(), linear(True).requires_grad_(False)
    head, hidden = Head(nn.Identity(), layer), states(batch)
    head.nll(hidden, batch).backward()
    assert layer.weight.grad is None and layer.bias.grad is None
    (wanted,) = torch.autograd.grad(-(plain_logprobs(hidden, layer, 1.0, None, batch) * batch.weights).sum(), hidden)
    assert_close(hidden.grad, wanted, rtol=1e-5, atol=1e-6)
    layer.weight.requires_grad_(True)
    head.nll(hidden.detach(), batch).backward()
    assert layer.weight.grad is not None and layer.bias.grad is None


def test_logprobs_build_no_graph() -> None:
    batch, layer = targets(), linear(False)
    assert not Head(nn.Identity(), layer).logprobs(states(batch), batch).requires_grad


def test_logits_at_hand_are_looked_up_chunk_by_chunk(chunk: int) -> None:
    batch = targets()
    logits = torch.randn(len(batch.rows), VOCABULARY, dtype=torch.float64, requires_grad=True)
    got, wanted = gather_logprobs(logits, batch), logits.log_softmax(-1)[batch.sources, batch.labels]
    assert_close(got, wanted.float())
    for ours, theirs in zip(
        *(torch.autograd.grad((x * batch.weights).sum(), logits) for x in (got, wanted)), strict=True
    ):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert not gather_logprobs(logits, batch).requires_grad


def test_chunks_end_between_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = targets()
    monkeypatch.setattr(head_module, "CHUNK", 3 * VOCABULARY)
    chunks = head_module.chunks(batch, VOCABULARY)
    assert len(chunks) == -(-len(batch.rows) // 3)
    for rows, at in chunks:
        assert rows.stop - rows.start <= 3
        assert set(batch.sources[at].tolist()) == set(range(rows.start, rows.stop))


def test_bfloat16_sums_chunks_in_float32(chunk: int) -> None:
    batch, layer = targets(), linear(True, torch.bfloat16)
    hidden = states(batch, torch.bfloat16)
    exact = [x.detach().float().requires_grad_() for x in (hidden, layer.weight, layer.bias)]
    logits = F.linear(*exact)
    reference = -(logits.log_softmax(-1)[batch.sources, batch.labels] * batch.weights).sum() / batch.weight
    loss = Head(nn.Identity(), layer).nll(hidden, batch, 1 / batch.weight)
    assert float(loss.detach()) == pytest.approx(float(reference.detach()), rel=5e-3)
    got = torch.autograd.grad(loss, (hidden, layer.weight, layer.bias))
    for ours, theirs in zip(got, torch.autograd.grad(reference, exact), strict=True):
        assert ours.dtype == torch.bfloat16
        assert float((ours.float() - theirs).norm() / theirs.norm()) < 0.01


@pytest.mark.parametrize(
    ("architecture", "settings", "scale", "softcap"),
    [
        ("llama", {"tie_word_embeddings": True}, 1.0, None),
        ("llama", {"tie_word_embeddings": False}, 1.0, None),
        ("cohere", {}, 0.25, None),
        ("granite", {}, 1 / 3, None),
        ("gemma2", {"final_logit_softcapping": 2.0}, 1.0, 2.0),
        ("gpt2", {}, 1.0, None),
    ],
)
def test_the_head_of_a_model(
    build: Callable[..., Any],
    tokenizer: Any,
    random_rows: Rows,
    architecture: str,
    settings: dict[str, Any],
    scale: float,
    softcap: float | None,
) -> None:
    lm, batch = LanguageModel.wrap(build(architecture, **settings), tokenizer), flat_batch(random_rows(5))
    head = Head.of(lm.model)
    assert head is not None and isinstance(lm.engine, TrieEngine) and lm.engine.plain_head
    assert (head.scale, head.softcap) == (pytest.approx(scale), softcap)
    with torch.no_grad():
        assert_close(head.logits(hidden_states(lm, head, batch)), flat_logits(lm, batch))


def test_the_head_of_an_adapted_model(tiny: LanguageModel, random_rows: Rows) -> None:
    batch = flat_batch(random_rows(5))
    tiny.adapt(LoraConfig(rank=2).build())
    with torch.no_grad():
        for name, parameter in tiny.model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)  # the adapter must show
        head = Head.of(tiny.model)
        assert head is not None
        assert_close(head.logits(hidden_states(tiny, head, batch)), flat_logits(tiny, batch))


def test_there_is_no_plain_head(build: Callable[..., Any], tiny: LanguageModel) -> None:
    from peft import PromptTuningConfig, get_peft_model

    model = build("llama")
    model.lm_head = nn.Sequential(model.lm_head)
    assert Head.of(model) is None
    prompted = get_peft_model(build("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    assert Head.of(prompted) is None


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_s_chunks_change_neither_loss_nor_gradients(
    build: Callable[..., Any], tokenizer: Any, branching_rows: Rows, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    lm = LanguageModel.wrap(build("llama", tie_word_embeddings=tied), tokenizer)
    lm.model.requires_grad_(True)
    batch = trie.build(row_paths(branching_rows(8)), merge=True)
    results = []
    for rows in (10_000, 3):
        monkeypatch.setattr(head_module, "CHUNK", rows * len(tokenizer))
        assert (len(head_module.chunks(batch, len(tokenizer))) > 1) == (rows == 3)
        loss = target_nll(lm, batch)
        loss.backward()
        with torch.no_grad():
            logprobs = target_logprobs(lm, batch)
        results.append([loss.detach(), logprobs, *[p.grad for p in lm.model.parameters()]])
        lm.model.zero_grad()
    for whole, parts in zip(*results, strict=True):
        assert_close(parts, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))
