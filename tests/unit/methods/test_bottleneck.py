"""Networks behind the layers: written out by hand, on flat and padded rows, in every architecture's layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.errors import ModelError
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate
from keeptune.inference.score import row_nats
from keeptune.methods.bottleneck import BottleneckConfig
from keeptune.models.language_model import LanguageModel, hash_parameters

Rows = Callable[..., list[Encoded]]


def change(parameters: Any) -> None:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.1 * torch.randn(parameter.shape, generator=draw)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return found


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "opt", "gpt_neox", "gemma2", "mamba", "rwkv"])
def test_training_starts_at_the_base_and_every_network_learns(build: Any, architecture: str) -> None:
    model, method = build(architecture), BottleneckConfig(size=8).build()
    before, start = hash_parameters(model), logits(model)
    adapted: Any = method.prepare(model)
    assert torch.equal(logits(adapted), start)
    assert len(method.trainable(adapted)) == 2 * 4
    change(method.trainable(adapted).values())
    ids = torch.arange(3, 20)[None]
    adapted.train()(input_ids=ids, labels=ids).loss.backward()
    adapted.eval()
    assert all(bool(p.grad.any()) for p in method.trainable(adapted).values())  # type: ignore[union-attr]
    assert not torch.allclose(logits(adapted), start, atol=1e-2)
    with method.base(adapted) as base:
        assert torch.equal(logits(base), start)
    restored = method.restore(adapted)
    assert hash_parameters(restored) == before and torch.equal(logits(restored), start)


def test_what_stands_behind_a_layer_is_the_formula(build: Any) -> None:
    model, method = build("llama"), BottleneckConfig(size=8).build()
    ids, seen = torch.arange(3, 20)[None], []
    model.model.layers[1].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(input_ids=ids)
        adapted: Any = method.prepare(model)
        change(method.trainable(adapted).values())
        adapted(input_ids=ids)
        network = adapted.model.layers[0].bottleneck
        inner = torch.relu(seen[0] @ network.down.weight.T + network.down.bias)
    torch.testing.assert_close(seen[1], seen[0] + inner @ network.up.weight.T + network.up.bias)


def test_flat_rows_are_scored_and_answered_as_padded_ones(tiny: LanguageModel, random_rows: Rows) -> None:
    method, rows, prompts = BottleneckConfig(size=8).build(), random_rows(8), [(5, 6, 7), (9, 10), (5, 6, 8, 30)]
    before = row_nats(tiny, rows)
    tiny.adapt(method)
    change(method.trainable(tiny.model).values())
    assert tiny.engine.name == "flat"
    flat, answers = row_nats(tiny, rows), generate(tiny, prompts, 6)
    with tiny.using("padded"):
        assert row_nats(tiny, rows) == pytest.approx(flat, rel=1e-4)
        assert generate(tiny, prompts, 6) == answers
    assert flat != pytest.approx(before, rel=1e-3)


def test_networks_of_another_size_or_a_second_time_are_refused(tiny: LanguageModel, tmp_path: Path) -> None:
    method, other = BottleneckConfig(size=8).build(), BottleneckConfig(size=4).build()
    tiny.adapt(method)
    method.save(tiny.model, tmp_path, tiny.tokenizer)
    with pytest.raises(ModelError, match="bottleneck adapters already"):
        other.prepare(tiny.model)
    tiny.restore(method)
    tiny.adapt(other)
    with pytest.raises(ModelError, match="6 adapter weights do not match the model, among them 0.down.bias"):
        other.load(tiny.model, tmp_path)
