from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.errors import DataError
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.engines.padded import PaddedEngine
from keeptune.models.language_model import LanguageModel
from keeptune.train.drift import DriftBase, drift

Rows = Callable[..., list[Encoded]]


def move(parameters: Any) -> None:
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)


def all_logprobs(model: Any, rows: list[Encoded]) -> torch.Tensor:
    """[P, V] float64 at every supervised position, one row at a time."""
    found = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([[*row.prompt_ids, *row.completion_ids]])
            found.append(model(input_ids=ids).logits[0, len(row.prompt_ids) - 1 : -1].double().log_softmax(-1))
    return torch.cat(found)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=2)], ids=["full", "lora"])
def test_equals_the_formula_where_all_positions_are_taken(
    tiny: LanguageModel, random_rows: Rows, config: Any, flat: bool
) -> None:
    rows, arm = random_rows(20), config.build()  # completions of up to ten tokens and the end
    rows.append(rows[0])
    tiny = tiny if flat else replace(tiny, base_engine=PaddedEngine())
    before, base = all_logprobs(tiny.model, rows), DriftBase.of(tiny, rows)
    assert len(base.positions) == sum(len(row.completion_ids) for row in rows) == len(before)
    tiny.adapt(arm)
    nothing = drift(tiny, arm, base)
    assert (nothing.kl, nothing.agreement, nothing.weight_l2) == (0.0, 1.0, 0.0)
    move(arm.trainable(tiny.model).values())
    after, found = all_logprobs(tiny.model, rows), drift(tiny, arm, base)
    assert found.kl == pytest.approx(float((before.exp() * (before - after)).sum(-1).mean()), rel=1e-4)
    assert found.agreement == pytest.approx(float((before.argmax(-1) == after.argmax(-1)).double().mean()))
    assert 0 < found.agreement < 1
    assert found.positions == len(before)
    squares: Any = sum((delta.double() ** 2).sum() for _, delta in arm.deltas(tiny.model))
    assert found.weight_l2 == pytest.approx(float(squares.detach()) ** 0.5, rel=1e-5)


def test_a_sample_is_spread_over_rows(tiny: LanguageModel, random_rows: Rows) -> None:
    rows = random_rows(100, longest=60)
    base = DriftBase.of(tiny, rows)
    assert len(base.positions) == 256 == len(base.logprobs_PV)
    prompts = {tuple(row.prompt_ids) for row in rows}
    used = [p for p in prompts if any(tuple(c.prompt_ids[: len(p)]) == p for c in base.positions)]
    assert len(used) >= 256 / 8
    again = DriftBase.of(tiny, rows)
    assert again.positions == base.positions and torch.equal(again.logprobs_PV, base.logprobs_PV)
    few = DriftBase.of(tiny, [Encoded("long", (5,), tuple(range(10, 100)))])
    assert len(few.positions) == 90
    gapped = DriftBase.of(tiny, [Encoded("talk", (5,), tuple(range(10, 20)), gaps=((2, 8),))])
    assert [row.completion_ids[-1] for row in gapped.positions] == [10, 11, 18, 19]
    assert gapped.positions[2] == Encoded("talk", (5,), tuple(range(10, 19)), gaps=((0, 8),))
    with pytest.raises(DataError, match="no supervised position"):
        DriftBase.of(tiny, [])


def test_what_was_written_is_read_with_the_same_rows(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    rows = random_rows(6)
    first = DriftBase.of(tiny, rows)
    first.write(tmp_path / "base" / "drift.safetensors")
    again = DriftBase.read(tmp_path / "base" / "drift.safetensors", rows)
    assert torch.equal(again.logprobs_PV, first.logprobs_PV)
    assert again.positions == first.positions
