"""`fit`: the training loop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from keeptune.batching.types import Batch
from keeptune.core.config import Config, CountOrAuto
from keeptune.core.records import EngineRecord, RowLoss, SkippedRecord, SpikeRecord, StepRecord, ValidationRecord
from keeptune.core.stopping import finishing
from keeptune.data.examples import Encoded
from keeptune.data.storage.lazy import LazyMap
from keeptune.launch.world import ALONE, World
from keeptune.methods.base import Method
from keeptune.models.language_model import LanguageModel
from keeptune.tracking.base import Callback, Run, Tracker
from keeptune.tracking.records import FILES, RecordWriter
from keeptune.train.best import Best
from keeptune.train.checkpoints.identity import identity
from keeptune.train.checkpoints.keeper import Checkpoints, discard
from keeptune.train.checkpoints.random import RandomState
from keeptune.train.memory import release, reset_peak
from keeptune.train.microbatch_autotune import MicrobatchMemory, Planned, running, sharded_budget
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW, optimizer_bytes
from keeptune.train.order import Position, check_rows, shuffled_epochs, validation_steps
from keeptune.train.remedies.base import Remedy, Steps
from keeptune.train.routers import say_what_routers_miss
from keeptune.train.schedule import learning_rate
from keeptune.train.sharded import ShardedWeights, Sharding, WholeWeights
from keeptune.train.spikes import Spikes
from keeptune.train.stateful import Stateful
from keeptune.train.step import StepResult, batches_for, mean_nll, share_of, train_step
from keeptune.train.tally import FitResult, Tally
from keeptune.train.token_budget import TokenBudget
from keeptune.train.trouble import is_out_of_memory, skipped

log = logging.getLogger(__name__)


class TrainConfig(Config):
    """How every arm of a study is trained; rate and seed are an arm's own, and arguments of `fit`."""

    epochs: int = Field(3, ge=1)
    """Passes over the training rows."""
    max_steps: int | None = Field(None, ge=1)
    """Optimiser steps after which training ends earlier; the schedule is fitted to it."""
    global_batch: int = Field(16, ge=1)
    """Examples per optimiser step."""
    warmup: float = Field(0.06, ge=0, le=1)
    """Share of the steps in which the rate rises to its peak."""
    weight_decay: float = Field(0.0, ge=0)
    """Decay of AdamW, per step and unit of the rate."""
    clip: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""
    token_budget: CountOrAuto = "auto"
    """Tokens per micro-batch: speed and memory; changes results in rounding only."""
    validations_per_epoch: int = Field(1, ge=1)
    """Validations in an epoch, each of which may keep a checkpoint."""
    diverged_after: int = Field(3, ge=1)
    """Steps in a row whose loss or gradient is not finite after which training ends; fewer are skipped."""
    checkpoint_every: CountOrAuto = Field("auto", exclude=True)  # changes no result, so it is in no key
    """Steps between two checkpoints to go on from; `auto`: as often as 3 % of the time allow."""
    engine: Literal["flat", "padded"] = "flat"
    """How rows are computed; padded is the slow reference."""

    def steps(self, rows: int) -> int:
        """Optimiser steps of a run over so many rows."""
        whole = self.epochs * math.ceil(rows / self.global_batch)
        return min(whole, self.max_steps or whole)

    def times(self, longer: int) -> TrainConfig:
        """The same for that many times the epochs."""
        steps = None if self.max_steps is None else longer * self.max_steps
        return self.model_copy(update={"epochs": longer * self.epochs, "max_steps": steps})


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
    key: str = "",
    world: World = ALONE,
    sharding: Sharding | None = None,
) -> FitResult:
    """Train ``lm`` by ``method`` with peak rate ``lr``, or go on with the same training where it was interrupted.

    Writes steps.jsonl, validation.jsonl, engine.json and the best checkpoint into ``folder``. ``lm`` is left adapted
    and holding the checkpoint with the lowest validation loss, the base (step 0) included; ``lm.restore(method)`` gives
    the base back. Without validation rows the last step is kept. Steps whose loss or gradient is not finite are
    skipped; several in a row (diverged), or a checkpoint that a remedy does not allow, end the run at the best so far.

    Args:
        seed: decides the order of the rows, dropout and what the method draws, whatever ran before in the process.
        remedies: of each, `Remedy.method` is the caller's to ask.
        order: the row indices of every step where they are not shuffled epochs (a mixture draws them).
        tier: says how well the model keeps what must be kept now, 0: all of it. A lower tier goes before a lower loss.
        name: the arm's, for callbacks.
        memory: token budgets that earlier trainings decided on.
        key: what decides the result beside what is given here. Who gives one saves the result and then calls
            `checkpoints.keeper.discard` for what the training would go on from; otherwise `fit` calls it.
        world: the processes that train together; each calls `fit` alike, and the main one writes. Which rows come at
            a step, and what the method begins with, is the same for any number; dropout is each process's own.
        sharding: spread the weights over the processes, where there are several.

    Raises:
        DataError: see `check_rows`.

    Example:
        >>> result = fit(lm, LoraConfig().build(), rows, rows, TrainConfig(epochs=2), folder, lr=1e-3)
        >>> result.steps, sorted(path.name for path in folder.iterdir())
        (2, ['adapter', 'engine.json', 'steps.jsonl', 'validation.jsonl'])
    """
    check_rows(lm, train, validation)
    say_what_routers_miss(lm)
    torch.manual_seed(seed)
    with _adapted(lm, method):
        steps = _steps(train, config, seed, order, remedies)
        run = Run(lm, method, folder, len(steps), name, lr, seed, config.model_dump(mode="json"))
        whole, memory = identity(run, steps, validation, remedies, key), memory or MicrobatchMemory()
        trainer = Trainer(run, config, steps, validation, hooks, remedies, tier, memory, whole, world, sharding)
        result = trainer.train(_validated(config, len(steps), len(train) if order is None else None))
    if not key and world.is_main:
        discard(folder)
    return result


class Trainer:
    """One training of an adapted model. What it remembers from step to step is in its parts, which are `Stateful`."""

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
        key: str,
        world: World,
        sharding: Sharding | None,
    ) -> None:
        self.run, self.config, self.validation = run, config, validation
        self.remedies, self.tier, self.world = remedies, tier, world
        self.objective = Objective([term for remedy in remedies for term in remedy.terms(run.lm, run.method)])
        self.best = Best(run.lm, run.method, run.folder, world)
        sharded = sharding if world.size > 1 else None
        self.budget = TokenBudget(self._engine(memory, steps, sharded), run.folder, world)
        self.weights = ShardedWeights(run.lm, world, sharded) if sharded else WholeWeights(run.lm)
        trained = run.method.trainable(self.weights.lm.model)
        factors = run.method.rate_factors(self.weights.lm.model)
        self.optimizer = MasterAdamW(
            trained.values(),
            names=trained,
            factors=[factors.get(name, 1.0) for name in trained],
            weight_decay=config.weight_decay,
            shards=world if sharded else ALONE,
        )
        self.position = Position(steps)
        self.random = RandomState(run.lm.device)
        self.tally = Tally(run.lm.device)
        self.spikes = Spikes()
        watching = (RecordWriter(), *hooks)
        self.callbacks = [each for each in watching if world.is_main or not isinstance(each, Tracker)]
        self.checkpoints = Checkpoints(
            run.folder,
            key,
            self._parts((*watching, *self.objective.terms, *remedies)),
            (run.method.artifact, *FILES),
            config.checkpoint_every,
            size=optimizer_bytes(self.optimizer.parameters),
            world=world,
        )

    @property
    def diverged(self) -> bool:
        """Whether too many steps in a row had no finite loss and gradient."""
        return self.tally.in_a_row >= self.config.diverged_after

    def train(self, validate_after: set[int]) -> FitResult:
        """Take all steps that are to come; the model then holds the best checkpoint."""
        lm, weights, engine = self.run.lm, self.weights, self.config.engine
        if not self.checkpoints.resume():
            self.best.begin()
        self._draw_apart()
        reset_peak(lm.device)
        checkpointing = self.budget.engine.checkpointing
        with (
            weights.training(),
            lm.using(engine),
            running(weights.lm, engine, checkpointing=checkpointing),
            self._watched(),
            finishing() as signalled,
        ):
            if not self.position.begun:
                with weights.whole():
                    self._validate(0)
            for step, rows in self.position:
                self._step(step, rows)
                if self.diverged:
                    break
                if step in validate_after:
                    with weights.whole():
                        if not all(remedy.allows(lm) for remedy in self.remedies):
                            break
                        self._validate(step)
                self.checkpoints.after_step(step, signalled())
        if not self.validation and not self.diverged:
            self.best.keep(self.run.steps)
        self.best.finish()
        self.checkpoints.say_what_failed()
        return self.tally.result(self.best, diverged=self.diverged)

    def _parts(self, others: Sequence[object]) -> dict[str, Stateful]:
        """Everything that remembers something from step to step, by a name that is the same in every process."""
        parts: dict[str, Stateful] = {
            "optimizer": self.optimizer,
            "position": self.position,
            "random": self.random,
            "best": self.best,
            "budget": self.budget,
            "tally": self.tally,
            "spikes": self.spikes,
        }
        for part in others:
            if isinstance(part, Stateful):
                kind = type(part).__name__
                parts[f"{kind} {sum(name.startswith(f'{kind} ') for name in parts)}"] = part
        return parts

    def _step(self, step: int, rows: Sequence[Encoded]) -> None:
        """One update, or a step that is skipped: its loss or its gradient is not finite."""
        started, run = time.perf_counter(), self.run
        rate = learning_rate(step, run.steps, run.lr, self.config.warmup)
        record = self._update(step, rows, rate).to_record(step, rate, started)
        if not (math.isfinite(record.loss) and math.isfinite(record.grad_norm)):
            self._skip(skipped(record, rows, self.optimizer))
            return
        self.tally.add(record)
        if self.tally.steps == 1:
            self._name_untouched()
        for callback in self.callbacks:
            callback.after_step(run, record)
        if (usual := self.spikes.add(record.loss)) is not None:
            self._name_rows(record, rows, usual)

    def _update(self, step: int, rows: Sequence[Encoded], rate: float) -> StepResult:
        """By this process's share of the rows; again in smaller micro-batches where memory runs out.

        Several processes would have to run out of it together, so there it ends the training.
        """
        weights, config, drawn = self.weights, self.config, self.random.state_dict()
        while True:
            try:
                batches = self._batches(rows)
                return train_step(
                    *(weights.lm, batches, self.objective, self.optimizer, rate, config.clip, self.world, weights.run)
                )
            except (RuntimeError, MemoryError) as error:
                if self.world.size > 1 or not is_out_of_memory(error):
                    raise
            self.optimizer.drop()
            release()
            self.random.load_state_dict(drawn)
            self.budget.halve(step, rows)

    def _batches(self, rows: Sequence[Encoded]) -> list[Batch]:
        """The micro-batches of this process's share of a step."""
        lm, tokens = self.weights.lm, self.budget.tokens
        mine = batches_for(lm, share_of(lm, rows, self.world), tokens)
        return self.weights.even(mine, lambda: batches_for(lm, rows[:1], tokens)[0])

    def _skip(self, record: SkippedRecord) -> None:
        """Leave the weights as they are, and go on. To go back would help nobody: the same rows would come again."""
        self.optimizer.drop()
        self.tally.skip()
        if self.diverged:
            log.warning("the training diverged, %d steps in a row: %s", self.tally.in_a_row, record)
        else:
            log.warning("a step was skipped: %s", record)
        for callback in self.callbacks:
            callback.after_skip(self.run, record)

    def _name_rows(self, record: StepRecord, rows: Sequence[Encoded], usual: float) -> None:
        """Say which rows are behind a loss that stood out."""
        with self.weights.whole():
            losses = [RowLoss(id=row.id, loss=mean_nll(self.run.lm, [row], self.budget.tokens)) for row in rows]
        ordered = tuple(sorted(losses, key=lambda each: -each.loss))
        spike = SpikeRecord(step=record.step, loss=record.loss, usual=usual, rows=ordered)
        for callback in self.callbacks:
            callback.after_spike(self.run, spike)

    def _name_untouched(self) -> None:
        """Say which tensors are trained in name only: the rows that were seen do not reach them."""
        untouched = self.optimizer.untouched()
        if untouched:
            log.warning(
                "%d of %d trained tensors got no gradient in the first step, among them %s: they stay as they are",
                *(len(untouched), len(self.optimizer.names), self.optimizer.names[untouched[0]]),
            )

    def _validate(self, step: int) -> None:
        """Measure, keep if best, tell the callbacks. A loss that is not finite is never best and leaves no record."""
        if not self.validation:
            return
        loss = mean_nll(self.run.lm, self.validation, self.budget.tokens, self.world)
        kept = self.best.offer(step, loss, self.tier()) if self.tier and step > 0 else self.best.offer(step, loss)
        if math.isfinite(loss):
            record = ValidationRecord(step=step, loss=loss, best=kept)
            for callback in self.callbacks:
                callback.after_validation(self.run, record)

    def _draw_apart(self) -> None:
        """Let every process but the main one draw dropout of its own."""
        if not self.world.is_main:
            seeds = np.random.SeedSequence((self.run.seed, self.world.rank, self.position.begun))
            torch.manual_seed(int(seeds.generate_state(1)[0]))

    def _engine(self, memory: MicrobatchMemory, steps: Steps, sharded: Sharding | None) -> EngineRecord:
        """The token budget that the settings give, or the one that is found by the main process."""
        run, given = self.run, None if self.config.token_budget == "auto" else self.config.token_budget
        if sharded:
            return sharded_budget(run.lm, steps, given)
        if given is not None:
            return EngineRecord(key="", token_budget=given, why="given in the settings")
        planned = Planned(steps, self.objective, self.config.engine)
        found = self.world.first(lambda: memory.find_budget(run.lm, run.method, planned).model_dump_json().encode())
        return EngineRecord.model_validate_json(found)

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
def _adapted(lm: LanguageModel, method: Method) -> Iterator[None]:
    """Whatever ends a training, Ctrl-C too, nobody finds half-trained weights in the base's place."""
    lm.adapt(method)
    try:
        yield
    except BaseException:
        lm.restore(method)
        raise


def _validated(config: TrainConfig, steps: int, rows: int | None) -> set[int]:
    """The steps after which to validate; without the number of ``rows`` an epoch is its share of the steps."""
    epoch = steps / config.epochs if rows is None else math.ceil(rows / config.global_batch)
    return validation_steps(epoch, steps, config.validations_per_epoch)


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
