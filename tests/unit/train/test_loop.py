from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.batching.types import TrieBatch
from keeptune.core.errors import DataError
from keeptune.core.records import StepRecord, ValidationRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.models.load import load
from keeptune.tracking.base import Callback, Run
from keeptune.train import loop
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.step import mean_nll

Rows = Callable[..., list[Encoded]]
METHODS = [pytest.param(FullConfig(), 3e-3, id="full"), pytest.param(LoraConfig(rank=4), 1e-2, id="lora")]


def records(folder: Path) -> tuple[list[StepRecord], list[ValidationRecord]]:
    return (
        list(read_records(folder / "steps.jsonl", StepRecord)),
        list(read_records(folder / "validation.jsonl", ValidationRecord)),
    )


@pytest.mark.parametrize(("method", "lr"), METHODS)
def test_learns_writes_records_and_gives_the_base_back(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, method: Any, lr: float
) -> None:
    rows, arm = random_rows(12), method.build()
    base, base_hash = hash_parameters(tiny.model), tiny.hash
    before = mean_nll(tiny, rows, 1000)
    config = TrainConfig(epochs=6, global_batch=4, token_budget=40)
    result = fit(tiny, arm, rows, rows, config, tmp_path, lr=lr)
    steps, validations = records(tmp_path)
    assert [r.step for r in steps] == list(range(1, 19))
    assert result.steps == 18
    assert [r.step for r in validations] == [0, 3, 6, 9, 12, 15, 18]
    assert validations[0].loss == pytest.approx(before, rel=1e-5)
    assert result.best_loss is not None
    assert result.best_loss < 0.9 * before
    assert result.tokens == 6 * sum(map(len, rows)) == sum(r.tokens for r in steps)
    assert result.trained_tokens == 6 * sum(len(row.completion_ids) for row in rows)
    assert result.peak_memory_bytes is None or result.peak_memory_bytes > 0
    assert not result.diverged
    assert not tiny.model.training
    assert tiny.hash is None  # nothing about tuned weights may be cached under the base's name
    assert mean_nll(tiny, rows, 1000) == pytest.approx(result.best_loss, rel=1e-5)
    tiny.restore(arm)
    assert hash_parameters(tiny.model) == base
    assert tiny.hash == base_hash


@pytest.mark.parametrize(("method", "lr"), METHODS)
def test_an_arm_does_not_depend_on_the_arms_before_it(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, method: Any, lr: float
) -> None:
    rows, losses = random_rows(6), []
    for number in range(2):
        arm = method.build()
        torch.rand(number * 7)  # the global generator stands elsewhere
        losses.append(fit(tiny, arm, rows, rows, TrainConfig(epochs=2), tmp_path / str(number), lr=lr).best_loss)
        tiny.restore(arm)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_saved_model_is_the_one_held(
    build: Callable[..., Any], tokenizer: Any, random_rows: Rows, tmp_path: Path, dtype: torch.dtype
) -> None:
    lm = LanguageModel.wrap(build("llama").to(dtype), tokenizer)
    fit(lm, FullConfig().build(), random_rows(8), random_rows(3, seed=1), TrainConfig(epochs=2), tmp_path, lr=1e-3)
    again = load(
        str(tmp_path / "model"), precision={torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype], device="cpu"
    )
    state = lm.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.model.state_dict().items())
    assert again.dtype == dtype


def test_keeps_the_best_checkpoint_not_the_last(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    train, validation = random_rows(6), random_rows(6, seed=9)  # random labels: training soon hurts validation
    config = TrainConfig(epochs=8, global_batch=2)
    result = fit(tiny, FullConfig().build(), train, validation, config, tmp_path, lr=1e-2)
    _, validations = records(tmp_path)
    best = min(validations, key=lambda r: r.loss)
    assert result.best_step == best.step < 24
    assert result.best_loss == best.loss
    assert [r.step for r in validations if r.best][-1] == best.step
    assert mean_nll(tiny, validation, 4096) == pytest.approx(best.loss, rel=1e-5)


def test_the_base_is_kept_where_training_only_hurts(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    base, arm = hash_parameters(tiny.model), FullConfig().build()
    validation = random_rows(4, seed=9)
    result = fit(tiny, arm, random_rows(4), validation, TrainConfig(epochs=3, clip=1e6), tmp_path, lr=3.0)
    assert result.best_step == 0
    assert hash_parameters(tiny.model) == base
    assert hash_parameters(load(str(tmp_path / "model"), precision="fp32", device="cpu").model) == base


@pytest.mark.parametrize("poisoned_at", [1, 4])
def test_divergence_ends_the_run_with_the_best_so_far(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path, poisoned_at: int
) -> None:
    class Poison(Callback):
        def after_step(self, run: Run, record: StepRecord) -> None:
            if record.step == poisoned_at:
                with torch.no_grad():
                    next(run.lm.model.parameters()).fill_(float("nan"))

    rows = random_rows(8)
    config = TrainConfig(epochs=8, global_batch=4)
    result = fit(tiny, FullConfig().build(), rows, rows, config, tmp_path, lr=1e-3, hooks=[Poison()])
    assert result.diverged
    assert result.steps < 16
    assert result.best_step == {1: 0, 4: 2}[poisoned_at]
    assert result.best_loss is not None
    assert mean_nll(tiny, rows, 1000) == pytest.approx(result.best_loss, rel=1e-5)
    for file in ("steps.jsonl", "validation.jsonl"):
        for line in (tmp_path / file).read_text().splitlines():
            assert json.loads(line)["loss"] is not None


def test_without_validation_rows_the_last_step_is_kept(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    result = fit(tiny, FullConfig().build(), random_rows(4), [], TrainConfig(max_steps=2), tmp_path, lr=1e-3)
    assert (result.steps, result.best_step, result.best_loss) == (2, 2, None)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_several_validations_per_epoch(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    config = TrainConfig(epochs=2, global_batch=2, validations_per_epoch=2)
    fit(tiny, FullConfig().build(), random_rows(10), random_rows(2), config, tmp_path, lr=1e-3)
    assert [r.step for r in records(tmp_path)[1]] == [0, 2, 5, 8, 10]


def test_callbacks_see_the_run_and_its_end_even_when_it_fails(
    tiny: LanguageModel, random_rows: Rows, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Watch(Callback):
        def on_start(self, run: Run) -> None:
            seen.append(f"start {run.steps} {run.label}")

        def after_step(self, run: Run, record: StepRecord) -> None:
            seen.append(f"step {record.step}")
            if record.step == 2:
                raise KeyboardInterrupt

        def after_validation(self, run: Run, record: ValidationRecord) -> None:
            seen.append(f"validation {record.step}")

        def on_end(self, run: Run) -> None:
            seen.append("end")

    arm = LoraConfig(rank=2).build()
    config = TrainConfig(epochs=1, global_batch=2)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, arm, random_rows(8), random_rows(2), config, tmp_path, lr=1e-3, hooks=[Watch()])
    assert seen == ["start 4 LoRA r=2", "validation 0", "step 1", "step 2", "end"]
    assert not tiny.model.training


def test_the_order_is_the_same_for_every_method(tiny: LanguageModel, random_rows: Rows, tmp_path: Path) -> None:
    rows, tokens = random_rows(20), []
    for method in (FullConfig().build(), LoraConfig(rank=2).build()):
        folder = tmp_path / method.artifact
        fit(tiny, method, rows, [], TrainConfig(epochs=2, global_batch=3), folder, lr=1e-4, seed=5)
        tiny.restore(method)
        tokens.append([r.tokens for r in records(folder)[0]])
    assert tokens[0] == tokens[1]
    assert tokens[0][:7] != tokens[0][7:]  # another order in every epoch


def test_refuses_rows_that_do_not_fit(tiny: LanguageModel, tmp_path: Path) -> None:
    long = Encoded("long", (5,) * 100, (6,) * 30)
    with pytest.raises(DataError, match=r"id long.*tokens does not fit the context of 128"):
        fit(tiny, FullConfig().build(), [long], [], TrainConfig(), tmp_path, lr=1e-3)
    with pytest.raises(DataError, match="no training rows"):
        fit(tiny, FullConfig().build(), [], [], TrainConfig(), tmp_path, lr=1e-3)


def batches_of_fit(
    lm: LanguageModel, rows: list[Encoded], folder: Path, monkeypatch: pytest.MonkeyPatch, engine: str = "flat"
) -> list[TrieBatch]:
    """The micro-batches that training, not validation, ran on."""
    seen: list[TrieBatch] = []
    original = loop.train_step

    def spy(lm: LanguageModel, batches: list[TrieBatch], *args: Any) -> Any:
        seen.extend(batches)
        return original(lm, batches, *args)

    monkeypatch.setattr(loop, "train_step", spy)
    config = TrainConfig(epochs=1, global_batch=6, engine=engine)
    fit(lm, FullConfig().build(), rows, rows, config, folder, lr=1e-3)
    return seen


def test_rows_share_where_no_dropout_is_drawn(
    tiny: LanguageModel, branching_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = branching_rows(12)
    seen = batches_of_fit(tiny, rows, tmp_path, monkeypatch)
    assert len(seen) == 2
    assert sum(len(batch.input_ids) for batch in seen) < sum(len(row) - 1 for row in rows)


@pytest.mark.parametrize("drops", ["attention_dropout", "padded"])
def test_rows_that_need_a_draw_of_their_own_share_nothing(
    build: Callable[..., Any],
    tokenizer: Any,
    branching_rows: Rows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drops: str,
) -> None:
    padded = drops == "padded"
    lm = LanguageModel.wrap(build("llama", **({} if padded else {drops: 0.1})), tokenizer)
    rows = branching_rows(12)
    seen = batches_of_fit(lm, rows, tmp_path, monkeypatch, "padded" if padded else "flat")
    assert sum(len(batch.segments) for batch in seen) == len(rows)
    assert all((batch.segments[:, 2] == -1).all() for batch in seen)
    assert all((batch.weights == 1).all() for batch in seen)
    assert sum(len(batch.input_ids) for batch in seen) == sum(len(row) - 1 for row in rows)
    assert lm.engine.name == "flat"


@pytest.mark.parametrize(("method", "lr"), METHODS)
def test_the_loss_curve_is_that_of_the_padded_reference(
    tiny: LanguageModel, branching_rows: Rows, tmp_path: Path, method: Any, lr: float
) -> None:
    """Twenty steps in float32 at the same order of the rows, of which many begin alike."""
    rows, validation, curves = branching_rows(40), branching_rows(10, seed=1), []
    for engine, budget in (("flat", 90), ("padded", 4096)):
        arm, folder = method.build(), tmp_path / engine
        config = TrainConfig(epochs=4, global_batch=8, engine=engine, token_budget=budget)
        fit(tiny, arm, rows, validation, config, folder, lr=lr)
        tiny.restore(arm)
        steps, validations = records(folder)
        assert len(steps) == 20
        curves.append([r.loss for r in (*steps, *validations)])
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert abs(curves[0][19] - curves[0][0]) > 0.5  # it learned


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_that_no_gradient_reaches_is_named(
    build: Callable[..., Any],
    tokenizer: Any,
    random_rows: Rows,
    tmp_path: Path,
    dtype: torch.dtype,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = build("llama").to(dtype)
    config, method = TrainConfig(epochs=2, global_batch=4), LoraConfig(rank=2, target_modules=("q_proj",)).build()
    fit(LanguageModel.wrap(model, tokenizer), method, random_rows(8), [], config, tmp_path / "a", lr=1e-3)
    assert "no gradient" not in caplog.text
    model = build("llama").to(dtype)
    model.model.aside = torch.nn.Linear(2, 2).to(dtype)
    method = LoraConfig(rank=2, target_modules=("q_proj", "aside")).build()
    fit(LanguageModel.wrap(model, tokenizer), method, random_rows(8), [], config, tmp_path / "b", lr=1e-3)
    said = [record.getMessage() for record in caplog.records if "no gradient" in record.getMessage()]
    assert len(said) == 1
    assert "2 of 6 trained tensors got no gradient in the first step" in said[0] and "model.aside.lora_" in said[0]
