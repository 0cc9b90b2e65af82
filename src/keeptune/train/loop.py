"""`fit`: the training loop."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from keeptune.batching.plan import shuffled_steps
from keeptune.core.config import Config, CountOrAuto
from keeptune.core.errors import DataError
from keeptune.core.records import EngineRecord, StepRecord, ValidationRecord, write_json
from keeptune.data.examples import Encoded
from keeptune.data.storage.lazy import LazyMap
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.train.best import Best
from keeptune.train.callbacks import Callback, RecordWriter, Run
from keeptune.train.memory import peak_bytes, reset_peak
from keeptune.train.microbatch_autotune import FILE, Planned, find_budget, recall, running
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.remedies.base import Remedy, Steps
from keeptune.train.schedule import learning_rate
from keeptune.train.step import batches_for, mean_nll, train_step


class TrainConfig(Config):
    """How every arm of a study is trained; what differs between arms (rate, seed) is an argument of `fit`."""

    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)  # stop earlier; the schedule is fitted to it
    global_batch: int = Field(16, ge=1)  # examples per optimiser step
    warmup: float = Field(0.06, ge=0, le=1)  # share of the steps
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)  # largest global gradient norm
    token_budget: CountOrAuto = "auto"  # tokens per micro-batch: speed and memory; changes results in rounding only
    validations_per_epoch: int = Field(1, ge=1)
    engine: Literal["flat", "padded"] = "flat"  # padded: the slow reference

    def steps(self, rows: int) -> int:
        """Optimiser steps of a run over so many rows."""
        whole = self.epochs * math.ceil(rows / self.global_batch)
        return min(whole, self.max_steps or whole)


@dataclass(frozen=True)
class FitResult:
    """What a training came to."""

    steps: int  # updates done
    best_step: int  # the step whose weights were kept; 0 is the base
    best_loss: float | None  # validation nats per trained token at best_step; None without validation rows
    tokens: int  # real tokens seen
    trained_tokens: int  # of which with loss mask 1
    seconds: float  # spent in steps, validation not included
    tokens_per_second: float  # real tokens, the first step left out where there are more
    peak_memory_bytes: int | None
    diverged: bool


def fit(
    lm: LanguageModel,
    method: Method,
    train: Sequence[Encoded],
    validation: Sequence[Encoded],
    config: TrainConfig,
    folder: Path,
    *,
    lr: float,
    seed: int = 0,
    hooks: Sequence[Callback] = (),
    remedies: Sequence[Remedy] = (),
    order: Sequence[Sequence[int]] | None = None,
    tier: Callable[[], int] | None = None,
    name: str = "",
) -> FitResult:
    """Train ``lm`` by ``method`` with peak rate ``lr``.

    Writes steps.jsonl, validation.jsonl, engine.json and the best checkpoint into ``folder``. ``lm`` is left adapted
    and holding the checkpoint with the lowest validation loss, the base (step 0) included; give the base back with
    ``lm.restore(method)``. Without validation rows the last step is kept. A loss or gradient that is not finite ends
    the run as diverged, with the best checkpoint so far; a checkpoint that a remedy does not allow ends it, too.
    ``seed`` decides the order of the rows, dropout and what the method draws; what ran before in the process changes
    nothing, but for the rounding of another token budget. ``order`` gives the row indices of every step where they
    are not shuffled epochs (a mixture draws them). ``tier`` says of the model as it is now how well it keeps what must
    be kept (0: all of it); a checkpoint of a lower tier goes before one of a lower loss. ``name``
    is the arm's, for callbacks. Of the remedies, `Remedy.method` is the caller's to ask.

    Raises:
        DataError: no training rows, or a row longer than the model's context.
    """
    _check_rows(lm, train, validation)
    torch.manual_seed(seed)
    lm.adapt(method)
    with _restored_on_error(lm, method):
        order_of = order or list(_order(len(train), config, seed))
        steps: Steps = LazyMap(order_of, lambda indices: [train[i] for i in indices])
        for remedy in remedies:
            steps = remedy.steps(steps, seed)
        objective = Objective([term for remedy in remedies for term in remedy.terms(lm, method)])
        best = Best(lm, method, folder)
        engine = _engine(lm, method, Planned(steps, objective, config.engine), config, folder)
        reset_peak(lm.device)
        optimizer = MasterAdamW(method.trainable(lm.model).values(), weight_decay=config.weight_decay)
        run = Run(lm, method, folder, len(steps), name, lr, seed, config.model_dump(mode="json"))
        epoch = math.ceil(len(train) / config.global_batch) if order is None else len(steps) / config.epochs
        validate_after = _validation_steps(epoch, len(steps), config)
        records: list[StepRecord] = []
        diverged = False
        mode = running(lm, config.engine, checkpointing=engine.checkpointing)
        with mode, _watched(run, [RecordWriter(), *hooks]) as callbacks:
            _validate(run, best, validation, 0, engine, callbacks, tier)
            for step, rows in enumerate(steps, 1):
                started = time.perf_counter()
                rate = learning_rate(step, len(steps), lr, config.warmup)
                batches = batches_for(lm, rows, engine.token_budget)
                record = train_step(lm, batches, objective, optimizer, rate, config.clip).to_record(step, rate, started)
                diverged = not (math.isfinite(record.loss) and math.isfinite(record.grad_norm))
                if diverged:
                    break
                records.append(record)
                for callback in callbacks:
                    callback.after_step(run, record)
                if step in validate_after:
                    if not all(remedy.allows(lm) for remedy in remedies):
                        break
                    _validate(run, best, validation, step, engine, callbacks, tier)
            if not validation and not diverged:
                best.keep(len(steps))
            best.finish()
        return _result(records, best, diverged, peak_bytes(lm.device))


@contextmanager
def _restored_on_error(lm: LanguageModel, method: Method) -> Iterator[None]:
    """Whatever ends a training, Ctrl-C too, nobody finds half-trained weights in the base's place."""
    try:
        yield
    except BaseException:
        lm.restore(method)
        raise


def _engine(lm: LanguageModel, method: Method, planned: Planned, config: TrainConfig, folder: Path) -> EngineRecord:
    """The token budget that the settings give, or the one that is found; noted in the run's folder."""
    if config.token_budget == "auto":
        recall([folder / FILE])
        engine = find_budget(lm, method, planned)
    else:
        engine = EngineRecord(key="", token_budget=config.token_budget, why="given in the settings")
    write_json(folder / FILE, engine)
    return engine


def _check_rows(lm: LanguageModel, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
    if not train:
        raise DataError("no training rows", remedy="check the split sizes with `keeptune data check`")
    longest = max(itertools.chain(train, validation), key=len)
    if len(longest) > lm.context + 1:  # the last token is predicted, not fed
        raise DataError(
            f"a row of {len(longest)} tokens does not fit the context of {lm.context}",
            field=f"id {longest.id}",
            remedy="shorten it, or choose a policy for over-long rows",
        )


def _order(rows: int, config: TrainConfig, seed: int) -> Iterator[list[int]]:
    """The row indices of every step of the run."""
    return itertools.islice(shuffled_steps(rows, config.global_batch, seed), config.steps(rows))


def _validation_steps(epoch: float, steps: int, config: TrainConfig) -> set[int]:
    """Steps after which to validate: evenly over every epoch of so many steps, and the last."""
    every = epoch / config.validations_per_epoch
    return {round(i * every) for i in range(1, math.ceil(steps / every) + 1) if round(i * every) <= steps} | {steps}


def _validate(
    run: Run,
    best: Best,
    validation: Sequence[Encoded],
    step: int,
    engine: EngineRecord,
    callbacks: Sequence[Callback],
    tier: Callable[[], int] | None,
) -> None:
    """Measure, keep if best, tell the callbacks. A loss that is not finite is never best and leaves no record."""
    if not validation:
        return
    loss = mean_nll(run.lm, validation, engine.token_budget)
    kept = best.offer(step, loss, tier()) if tier and step > 0 else best.offer(step, loss)
    if math.isfinite(loss):
        record = ValidationRecord(step=step, loss=loss, best=kept)
        for callback in callbacks:
            callback.after_validation(run, record)


@contextmanager
def _watched(run: Run, callbacks: list[Callback]) -> Iterator[list[Callback]]:
    """Calls the first and the last hook, whatever happens in between."""
    for callback in callbacks:
        callback.on_start(run)
    try:
        yield callbacks
    finally:
        for callback in callbacks:
            callback.on_end(run)


def _result(records: Sequence[StepRecord], best: Best, diverged: bool, peak: int | None) -> FitResult:
    timed = records[1:] or records
    seconds = sum(r.seconds for r in timed)
    return FitResult(
        steps=len(records),
        best_step=best.step,
        best_loss=best.loss if math.isfinite(best.loss) else None,
        tokens=sum(r.tokens for r in records),
        trained_tokens=sum(r.trained_tokens for r in records),
        seconds=sum(r.seconds for r in records),
        tokens_per_second=sum(r.tokens for r in timed) / seconds if seconds else 0.0,
        peak_memory_bytes=peak,
        diverged=diverged,
    )
