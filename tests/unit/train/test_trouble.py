"""Steps that fail: their loss or gradient is not finite, or memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from keeptune.core.errors import ResourceError
from keeptune.core.records import EngineRecord, SkippedRecord, StepRecord, read_json, read_records
from keeptune.data.examples import Encoded
from keeptune.launch.world import World
from keeptune.methods.base import Method
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.tracking.base import Callback, Run
from keeptune.train import loop
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.objective import Forward, Term
from keeptune.train.remedies.base import Remedy
from keeptune.train.trouble import is_out_of_memory

Rows = Callable[..., list[Encoded]]


class Poison(Remedy, Term):
    """Adds what is not finite to the loss of some steps."""

    def __init__(self, *steps: int) -> None:
        self.steps_with, self.step = steps, 0

    @override
    def describe(self) -> str:
        return "poison"

    @override
    def terms(self, lm: LanguageModel, method: Method) -> Sequence[Term]:
        return [self]

    @override
    def begin(self, lm: LanguageModel, batches: Sequence[Any], world: World) -> None:
        self.step += 1

    def __call__(self, forward: Forward) -> Tensor:
        return forward.logprobs_S.sum() * (float("nan") if self.step in self.steps_with else 0.0)


class Told(Callback):
    def __init__(self) -> None:
        self.weights: dict[int, str] = {}
        self.skipped: list[int] = []

    def after_step(self, run: Run, record: StepRecord) -> None:
        self.weights[record.step] = hash_parameters(run.lm.model)

    def after_skip(self, run: Run, record: SkippedRecord) -> None:
        self.skipped.append(record.step)
        self.weights[record.step] = hash_parameters(run.lm.model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_without_a_finite_gradient_is_skipped_and_counted(
    build: Callable[..., Any], tokenizer: Any, random_rows: Rows, tmp_path: Path, dtype: torch.dtype
) -> None:
    lm, rows, told = LanguageModel.wrap(build("llama").to(dtype), tokenizer), random_rows(8), Told()
    config = TrainConfig(epochs=4, global_batch=4)
    poison = Poison(3, 4, 6)
    result = fit(lm, FullConfig().build(), rows, rows, config, tmp_path, lr=1e-3, hooks=[told], remedies=[poison])
    assert (result.steps, result.skipped, result.diverged) == (5, 3, False)
    assert told.skipped == [3, 4, 6]
    assert told.weights[4] == told.weights[3] == told.weights[2] != told.weights[5]
    assert [r.step for r in read_records(tmp_path / "steps.jsonl", StepRecord)] == [1, 2, 5, 7, 8]
    (third, *_) = skipped = list(read_records(tmp_path / "skipped.jsonl", SkippedRecord))
    assert [r.step for r in skipped] == [3, 4, 6]
    assert third.grad_norm is None and third.gradient == "model.embed_tokens.weight" and third.largest
    assert len(third.rows) == 4 and set(third.rows) <= {row.id for row in rows}


def test_several_in_a_row_end_the_training_with_a_diagnosis(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = random_rows(8)
    config = TrainConfig(epochs=4, global_batch=4, diverged_after=2)
    with caplog.at_level(logging.WARNING):
        result = fit(tiny, FullConfig().build(), rows, rows, config, tmp_path, lr=1e-3, remedies=[Poison(3, 5, 6, 7)])
    assert (result.steps, result.skipped, result.diverged, result.best_step) == (3, 3, True, 4)
    assert "diverged, 2 steps in a row: the gradient of step 6 is not finite, first in the gradient of" in caplog.text
    assert "largest weight: " in caplog.text and "rows: row" in caplog.text


def failing(times: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes memory run out in the second step, so many times; returns how many micro-batches were tried."""
    real, tried = loop.train_step, []

    def step(lm: Any, batches: Any, objective: Any, optimizer: Any, *given: Any) -> Any:
        tried.append(len(batches))
        if 1 < len(tried) <= 1 + times:
            torch.rand(3)  # dropout was drawn
            loss, _ = objective(lm, batches[0])
            loss.backward()  # and a part of the gradient is there
            optimizer.accumulate()
            raise error
        return real(lm, batches, objective, optimizer, *given)

    monkeypatch.setattr(loop, "train_step", step)
    return tried


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "python"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_memory_runs_out_the_step_is_done_again_in_smaller_micro_batches(
    build: Callable[..., Any],
    tokenizer: Any,
    branching_rows: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    dtype: torch.dtype,
) -> None:
    """Half of the budget still holds the whole step, so that dropout, too, is the same as if nothing had happened."""
    rows, config, models = branching_rows(8), TrainConfig(epochs=2, global_batch=4, token_budget=1000), []
    for name, times in (("whole", 0), ("tight", 2)):
        lm = LanguageModel.wrap(build("llama", attention_dropout=0.1).to(dtype), tokenizer)
        with monkeypatch.context() as patch:
            tried = failing(times, error, patch)
            result = fit(lm, FullConfig().build(), rows, [], config, tmp_path / name, lr=1e-3)
        models.append((hash_parameters(lm.model), result.steps, result.tokens))
        assert tried == [1] * (4 + times)
    assert models[0] == models[1]
    engine = read_json(tmp_path / "tight" / "engine.json", EngineRecord)
    assert engine.token_budget == 250 and "halved at step 2, where memory ran out" in engine.why


def test_where_a_row_alone_is_too_much_the_error_says_what_to_do(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hash_parameters(tiny.model)
    failing(100, ERRORS[0], monkeypatch)
    config = TrainConfig(epochs=2, global_batch=4, token_budget=100)
    with pytest.raises(ResourceError, match=r"step 2: memory ran out with one row per micro-batch -> .*longest rows"):
        fit(tiny, FullConfig().build(), random_rows(8), [], config, tmp_path, lr=1e-3)
    assert hash_parameters(tiny.model) == before


def test_other_errors_are_no_lack_of_memory() -> None:
    assert all(is_out_of_memory(error) for error in ERRORS)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(OSError("out of memory"))
