"""A state that is taken in the middle and loaded into a fresh object goes on to the same bits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from keeptune.core.records import StepRecord, ValidationRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.tracking.base import Run
from keeptune.tracking.records import RecordWriter
from keeptune.train.best import Best
from keeptune.train.checkpoints.random import RandomState
from keeptune.train.optim import MasterAdamW
from keeptune.train.order import Position, shuffled_epochs
from keeptune.train.stateful import Stateful
from keeptune.train.tally import Tally
from keeptune.train.token_budget import TokenBudget

Rows = Callable[..., list[Encoded]]


def written(part: Stateful) -> dict[str, Any]:
    """The state after a way through files: tensors as torch saves them, and the rest as JSON."""
    state = part.state_dict()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    rest = {name: value for name, value in state.items() if name not in tensors}
    file = io.BytesIO()
    torch.save(tensors, file)
    file.seek(0)
    return {**torch.load(file, weights_only=True), **json.loads(json.dumps(rest, allow_nan=False))}


def parameters(dtype: torch.dtype) -> list[nn.Parameter]:
    """A matrix, a vector, and one that has no gradient in the first steps."""
    draw = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=draw).to(dtype)) for shape in ((3, 4), (4,), (2, 2))]


def update(optimizer: MasterAdamW, step: int) -> None:
    draw = torch.Generator().manual_seed(step)
    for number, parameter in enumerate(optimizer.parameters):
        gradient = torch.randn(parameter.shape, generator=draw).to(parameter.dtype)
        parameter.grad = None if number == 2 and step < 4 else gradient
    optimizer.accumulate()
    optimizer.step(1e-2, clip=1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_optimiser(dtype: torch.dtype) -> None:
    first = MasterAdamW(parameters(dtype), weight_decay=0.1)
    for step in range(3):
        update(first, step)
    state = written(first)
    again = MasterAdamW([nn.Parameter(torch.zeros_like(p)) for p in first.parameters], weight_decay=0.1)
    again.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, again.parameters, strict=True))
    for step in range(3, 7):
        update(first, step)
        update(again, step)
        assert all(torch.equal(a, b) for a, b in zip(first.masters, again.masters, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(first.parameters, again.parameters, strict=True))


def test_the_position(random_rows: Rows) -> None:
    rows = random_rows(10)
    steps = [[rows[i] for i in indices] for indices in shuffled_epochs(10, 3, 8, seed=1)]
    first, seen = Position(steps), []
    for number, step in first:
        seen.append((number, step))
        if number == 5:
            break
    again = Position(steps)
    again.load_state_dict(written(first))
    assert [*seen, *again] == list(enumerate(steps, 1))
    assert list(first) == list(enumerate(steps, 1))[5:]


@pytest.mark.parametrize("offers", [[(0, 2.0, 9), (1, 1.5, 1)], [(0, 2.0, 9)], []])
def test_the_best_checkpoint(
    build: Callable[..., Any], tokenizer: Any, tmp_path: Path, offers: list[tuple[int, float, int]]
) -> None:
    ends = []
    for interrupted in (False, True):
        lm = LanguageModel.wrap(build("llama"), tokenizer)
        method = FullConfig().build()
        lm.adapt(method)
        best = Best(lm, method, tmp_path / str(interrupted))
        best.begin()
        for step, loss, tier in offers:
            _moved(lm, step)
            best.offer(step, loss, tier)
        if interrupted:
            state, best = written(best), Best(lm, method, tmp_path / str(interrupted))
            best.load_state_dict(state)
        kept = []
        for step, loss, tier in [(2, 1.6, 1), (3, 1.2, 9), (4, 2.5, 0), (5, 1.55, 1), (6, 1.9, 0)]:
            _moved(lm, step)
            kept.append(best.offer(step, loss, tier))
        best.finish()
        ends.append((kept, best.step, best.loss, best.tier, hash_parameters(lm.model)))
    assert ends[0] == ends[1]
    assert ends[0][1] == 6  # keeps more than what was best, and still learned something


def _moved(lm: LanguageModel, step: int) -> None:
    with torch.no_grad():
        next(lm.model.parameters()).fill_(step / 100)


def test_the_record_writer(tiny: LanguageModel, tmp_path: Path) -> None:
    run = Run(tiny, FullConfig().build(), tmp_path, 5)

    def watch(writer: RecordWriter, step: int) -> None:
        fields = {"lr": 1e-3, "grad_norm": 1, "tokens": 3, "trained_tokens": 1, "seconds": 1}
        writer.after_step(run, StepRecord(step=step, loss=step / 2, **fields))
        if step % 2 == 0:
            writer.after_validation(run, ValidationRecord(step=step, loss=step / 4, best=True))

    for file in ("steps.jsonl", "validation.jsonl"):
        (tmp_path / file).write_text("of another training\n")
    first = RecordWriter()
    first.on_start(run)
    for step in (1, 2):
        watch(first, step)
    state = written(first)
    watch(first, 3)  # that the process which goes on knows nothing of
    again = RecordWriter()
    again.load_state_dict(state)
    again.on_start(run)
    for step in (3, 4, 5):
        watch(again, step)
    assert [r.step for r in read_records(tmp_path / "steps.jsonl", StepRecord)] == [1, 2, 3, 4, 5]
    assert [r.step for r in read_records(tmp_path / "validation.jsonl", ValidationRecord)] == [2, 4]
    again.on_end(run)
    again.on_start(run)  # one writer may watch several trainings
    assert (tmp_path / "steps.jsonl").read_text() == ""


@pytest.mark.parametrize("kind", [MasterAdamW, Position, Best, RecordWriter, RandomState, Tally, TokenBudget])
def test_they_follow_the_protocol(kind: type) -> None:
    assert issubclass(kind, Stateful)
