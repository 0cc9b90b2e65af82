"""`fit`: the training loop."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from keeptune.core.config import Config, CountOrAuto
from keeptune.core.errors import DataError
from keeptune.core.records import EngineRecord, StepRecord, ValidationRecord, write_json
from keeptune.data.examples import Encoded
from keeptune.data.storage.lazy import LazyMap
from keeptune.launch.world import ALONE, World
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.tracking.base import Callback, Run, Tracker
from keeptune.tracking.records import RecordWriter
from keeptune.train.best import Best
from keeptune.train.memory import peak_bytes, reset_peak
from keeptune.train.microbatch_autotune import FILE, MicrobatchMemory, Planned, running
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.order import Position, shuffled_epochs, validation_steps
from keeptune.train.remedies.base import Remedy, Steps
from keeptune.train.routers import say_what_routers_miss
from keeptune.train.schedule import learning_rate
from keeptune.train.step import batches_for, mean_nll, train_step

log = logging.getLogger(__name__)


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

    def times(self, longer: int) -> TrainConfig:
        """The same for that many times the epochs."""
        steps = None if self.max_steps is None else longer * self.max_steps
        return self.model_copy(update={"epochs": longer * self.epochs, "max_steps": steps})


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
    memory: MicrobatchMemory | None = None,
    world: World = ALONE,
) -> FitResult:
    """Train ``lm`` by ``method`` with peak rate ``lr``.

    Writes steps.jsonl, validation.jsonl, engine.json and the best checkpoint into ``folder``. ``lm`` is left adapted
    and holding the checkpoint with the lowest validation loss, the base (step 0) included; give the base back with
    ``lm.restore(method)``. Without validation rows the last step is kept. A loss or gradient that is not finite ends
    the run as diverged, with the best checkpoint so far; a checkpoint that a remedy does not allow ends it, too.

    Args:
        seed: decides the order of the rows, dropout and what the method draws; what ran before in the process changes
            nothing, but for the rounding of another token budget.
        remedies: of each, `Remedy.method` is the caller's to ask.
        order: the row indices of every step where they are not shuffled epochs (a mixture draws them).
        tier: says of the model as it is now how well it keeps what must be kept (0: all of it); a checkpoint of a
            lower tier goes before one of a lower loss.
        name: the arm's, for callbacks.
        memory: token budgets that earlier trainings decided on.
        world: the processes that train together; each calls `fit` alike, and the main one writes.

    Raises:
        DataError: no training rows, or a row longer than the model's context.

    Example:
        >>> result = fit(lm, LoraConfig().build(), rows, rows, TrainConfig(epochs=2), folder, lr=1e-3)
        >>> result.steps, sorted(path.name for path in folder.iterdir())
        (2, ['adapter', 'engine.json', 'steps.jsonl', 'validation.jsonl'])
    """
    _check_rows(lm, train, validation)
    say_what_routers_miss(lm)
    torch.manual_seed(seed)
    lm.adapt(method)
    with _restored_on_error(lm, method):
        steps = _steps(train, config, seed, order, remedies)
        epoch = math.ceil(len(train) / config.global_batch) if order is None else len(steps) / config.epochs
        run = Run(lm, method, folder, len(steps), name, lr, seed, config.model_dump(mode="json"))
        trainer = Trainer(run, config, steps, validation, hooks, remedies, tier, memory or MicrobatchMemory(), world)
        return trainer.train(validation_steps(epoch, len(steps), config.validations_per_epoch))


class Trainer:
    """One training of an adapted model. Optimiser, position, best and writer are `Stateful`: what its steps leave."""

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        steps: Steps,
        validation: Sequence[Encoded],
        hooks: Sequence[Callback],
        remedies: Sequence[Remedy],
        tier: Callable[[], int] | None,
        memory: MicrobatchMemory,
        world: World,
    ) -> None:
        self.run, self.config, self.validation = run, config, validation
        self.remedies, self.tier, self.world = remedies, tier, world
        self.objective = Objective([term for remedy in remedies for term in remedy.terms(run.lm, run.method)])
        self.best = Best(run.lm, run.method, run.folder, world)
        self.best.begin()
        self.engine = self._engine(memory, steps)
        reset_peak(run.lm.device)
        trained, factors = run.method.trainable(run.lm.model), run.method.rate_factors(run.lm.model)
        self.optimizer = MasterAdamW(
            trained.values(), factors=[factors.get(name, 1.0) for name in trained], weight_decay=config.weight_decay
        )
        self.trained = tuple(trained)
        self.position = Position(steps)
        self.writer = RecordWriter()
        watching = (self.writer, *hooks)
        self.callbacks = [each for each in watching if world.is_main or not isinstance(each, Tracker)]
        self.records: list[StepRecord] = []
        self.diverged = False

    def train(self, validate_after: set[int]) -> FitResult:
        """Take all steps that are to come; the model then holds the best checkpoint."""
        lm = self.run.lm
        with running(lm, self.config.engine, checkpointing=self.engine.checkpointing), self._watched():
            self._validate(0)
            for step, rows in self.position:
                self._step(step, rows)
                if self.diverged:
                    break
                if step in validate_after:
                    if not all(remedy.allows(lm) for remedy in self.remedies):
                        break
                    self._validate(step)
        if not self.validation and not self.diverged:
            self.best.keep(self.run.steps)
        self.best.finish()
        return _result(self.records, self.best, self.diverged, peak_bytes(lm.device))

    def _step(self, step: int, rows: Sequence[Encoded]) -> None:
        """One update, by this process's share of the rows. A step that diverged leaves no record."""
        started, run, config = time.perf_counter(), self.run, self.config
        rate = learning_rate(step, run.steps, run.lr, config.warmup)
        batches = batches_for(run.lm, self.world.shard(rows), self.engine.token_budget)
        result = train_step(run.lm, batches, self.objective, self.optimizer, rate, config.clip, self.world)
        if step == 1:
            self._name_untouched()
        record = result.to_record(step, rate, started)
        self.diverged = not (math.isfinite(record.loss) and math.isfinite(record.grad_norm))
        if not self.diverged:
            self.records.append(record)
            for callback in self.callbacks:
                callback.after_step(run, record)

    def _name_untouched(self) -> None:
        """Say which tensors are trained in name only: the rows that were seen do not reach them."""
        untouched = self.optimizer.untouched()
        if untouched:
            log.warning(
                "%d of %d trained tensors got no gradient in the first step, among them %s: they stay as they are",
                *(len(untouched), len(self.trained), self.trained[untouched[0]]),
            )

    def _validate(self, step: int) -> None:
        """Measure, keep if best, tell the callbacks. A loss that is not finite is never best and leaves no record."""
        if not self.validation:
            return
        loss = mean_nll(self.run.lm, self.validation, self.engine.token_budget)
        kept = self.best.offer(step, loss, self.tier()) if self.tier and step > 0 else self.best.offer(step, loss)
        if math.isfinite(loss):
            record = ValidationRecord(step=step, loss=loss, best=kept)
            for callback in self.callbacks:
                callback.after_validation(self.run, record)

    def _engine(self, memory: MicrobatchMemory, steps: Steps) -> EngineRecord:
        """The token budget that the settings give, or the one that is found; noted in the run's folder."""
        run, config = self.run, self.config
        if config.token_budget == "auto":
            memory.recall([run.folder / FILE])
            engine = memory.find_budget(run.lm, run.method, Planned(steps, self.objective, config.engine))
        else:
            engine = EngineRecord(key="", token_budget=config.token_budget, why="given in the settings")
        if self.world.is_main:
            write_json(run.folder / FILE, engine)
        return engine

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Calls the first and the last hook, whatever happens in between."""
        for callback in self.callbacks:
            callback.on_start(self.run)
        try:
            yield
        finally:
            for callback in self.callbacks:
                callback.on_end(self.run)


@contextmanager
def _restored_on_error(lm: LanguageModel, method: Method) -> Iterator[None]:
    """Whatever ends a training, Ctrl-C too, nobody finds half-trained weights in the base's place."""
    try:
        yield
    except BaseException:
        lm.restore(method)
        raise


def _check_rows(lm: LanguageModel, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
    if not train:
        raise DataError("no training rows", remedy="check the split sizes with `keeptune data check`")
    for row in itertools.chain(train, validation):
        if len(row.prompt_ids) > lm.prompt_room(lm.fed(len(row.completion_ids))):
            raise DataError(
                f"a row of {len(row.prompt_ids)} and {len(row.completion_ids)} tokens does not fit the context of"
                f" {lm.context}",
                field=f"id {row.id}",
                remedy="shorten it, or choose a policy for over-long rows",
            )
        if lm.encoder_decoder and not row.prompt_ids:
            raise DataError(
                "a row without a prompt has nothing for the encoder",
                field=f"id {row.id}",
                remedy="give rows of prompt and completion, or use a decoder-only model",
            )


def _steps(
    train: Sequence[Encoded],
    config: TrainConfig,
    seed: int,
    order: Sequence[Sequence[int]] | None,
    remedies: Sequence[Remedy],
) -> Steps:
    """The rows of every step, as the remedies want them."""
    numbers = order or shuffled_epochs(len(train), config.global_batch, config.steps(len(train)), seed)
    steps: Steps = LazyMap(numbers, lambda indices: [train[i] for i in indices])
    for remedy in remedies:
        steps = remedy.steps(steps, seed)
    return steps


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
