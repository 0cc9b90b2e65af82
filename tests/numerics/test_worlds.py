"""Several processes that train one model do what one does, to rounding. Here they are threads with a model each."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from keeptune.core.records import StepRecord, ValidationRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate, sample
from keeptune.inference.score import row_nats
from keeptune.inference.spread import spread
from keeptune.launch.world import ALONE, World
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.tracking.base import Callback, Run, Tracker
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.remedies.kl import KlConfig
from keeptune.train.remedies.talr import TalrConfig
from keeptune.train.step import batches_for, mean_nll, share_of, train_step

Rows = Callable[..., list[Encoded]]
T = TypeVar("T")


@dataclass
class Meeting:
    """Where the threads of a world hand in what is to be summed."""

    size: int
    given: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.size, timeout=60)

    def sum(self, rank: int, tensor: Tensor) -> Tensor:
        self.given[rank] = tensor
        self.barrier.wait()
        total = torch.stack([self.given[each] for each in range(self.size)]).sum(0).to(tensor.dtype)
        self.barrier.wait()
        return total


@dataclass(frozen=True)
class Threads(World):
    meeting: Meeting = field(default_factory=lambda: Meeting(2))

    def sum(self, tensor: Tensor) -> Tensor:
        return self.meeting.sum(self.rank, tensor)


def together(work: Callable[[World], T], size: int = 2) -> list[T]:
    """What ``work`` gives in every process of a world."""
    meeting = Meeting(size)
    with ThreadPoolExecutor(size) as pool:
        tasks = [pool.submit(work, Threads(rank, size, meeting)) for rank in range(size)]
        return [task.result() for task in tasks]


class Recorder(MasterAdamW):
    """Keeps the gradients of the step instead of stepping."""

    def step(self, lr: float, clip: float) -> Tensor:
        self.gradients = [m.grad.clone() for m in self.masters if m.grad is not None]
        return torch.zeros(())


@pytest.mark.parametrize("handed", [[b"", b""], [b"", b"one"], [b"two", b"\x00\xff"]])
def test_all_processes_get_what_each_hands_in(handed: list[bytes]) -> None:
    assert together(lambda world: world.gather(handed[world.rank])) == [handed, handed]
    assert together(lambda world: world.first(lambda: handed[world.rank])) == [handed[0]] * 2


@pytest.mark.parametrize("size", [2, 3])
def test_scores_are_the_same_bits_and_texts_the_same_by_any_number_of_processes(
    tiny: LanguageModel, branching_rows: Rows, size: int
) -> None:
    """A budget of 64 tokens makes several batches, which are dealt; of one prompt only one process has any."""
    rows = [row for row in branching_rows(21) if row.prompt_ids and row.completion_ids]
    prompts = [row.prompt_ids for row in rows]

    def ask(world: World) -> list[Any]:
        lm = copy.deepcopy(tiny)
        with spread(lm, world):
            texts = generate(lm, prompts, 5), generate(lm, prompts[:1], 5), sample(lm, prompts, 5, seed=3)
            return [row_nats(lm, rows, 64), mean_nll(lm, rows, 64, world), *texts]

    assert together(ask, size) == [ask(ALONE)] * size


@pytest.mark.parametrize("remedy", [None, KlConfig(), TalrConfig()], ids=["plain", "kl", "talr"])
@pytest.mark.parametrize("count", [12, 1])
def test_shards_give_the_loss_and_the_gradient_of_the_step(
    tiny: LanguageModel, branching_rows: Rows, remedy: Any, count: int
) -> None:
    """Rows share prefixes in the whole step and in each shard; of one row the second shard has none."""
    rows = branching_rows(12)[:count]

    def step(world: World) -> tuple[Any, list[Tensor]]:
        lm, method = copy.deepcopy(tiny), FullConfig().build()
        lm.adapt(method)
        objective = Objective(remedy.build().terms(lm, method) if remedy else ())
        with torch.no_grad():  # away from the base, where there is something to hold
            for number, parameter in enumerate(lm.model.parameters()):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
                parameter.add_(0.02 * noise)
        optimizer = Recorder(method.trainable(lm.model).values())
        batches = batches_for(lm, share_of(lm, rows, world), 90)
        if count > 1:
            assert sum(len(batch.input_ids) for batch in batches) < sum(batch.tokens for batch in batches)
        return train_step(lm, batches, objective, optimizer, 0.1, 1.0, world), optimizer.gradients

    whole, gradients = step(ALONE)
    for result, summed in together(step):
        assert (result.tokens, result.trained_tokens) == (whole.tokens, whole.trained_tokens)
        assert_close(result.loss, whole.loss, rtol=1e-5, atol=1e-6)
        for a, b in zip(summed, gradients, strict=True):
            assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_two_processes_train_as_one_and_the_main_one_writes(
    tiny: LanguageModel, branching_rows: Rows, tmp_path: Path
) -> None:
    rows, validation = branching_rows(19), branching_rows(5, seed=1)  # steps of 6, the last of one row
    config = TrainConfig(epochs=2, global_batch=6, token_budget=90)
    told: list[tuple[str, int]] = []

    def train(world: World) -> dict[str, Tensor]:
        class Told(Tracker):
            def on_start(self, run: Run) -> None:
                told.append(("tracker", world.rank))

        class Called(Callback):
            def on_start(self, run: Run) -> None:
                told.append(("callback", world.rank))

        lm, folder = copy.deepcopy(tiny), tmp_path / str(world.size)
        hooks = [Told(), Called()]
        fit(lm, FullConfig().build(), rows, validation, config, folder, lr=1e-3, hooks=hooks, world=world)
        return lm.model.state_dict()

    alone = train(ALONE)
    assert told == [("tracker", 0), ("callback", 0)]
    told.clear()
    for state in together(train):
        for name, tensor in state.items():
            assert_close(tensor, alone[name], rtol=1e-3, atol=1e-5)
    assert sorted(told) == [("callback", 0), ("callback", 1), ("tracker", 0)]
    kinds: tuple[tuple[str, Any], ...] = (("steps.jsonl", StepRecord), ("validation.jsonl", ValidationRecord))
    for file, kind in kinds:
        one, two = (list(read_records(tmp_path / folder / file, kind)) for folder in ("1", "2"))
        assert [r.step for r in two] == [r.step for r in one]
        assert [r.loss for r in two] == pytest.approx([r.loss for r in one], rel=1e-4)
    assert [r.tokens for r in read_records(tmp_path / "2" / "steps.jsonl", StepRecord)] == [
        r.tokens for r in read_records(tmp_path / "1" / "steps.jsonl", StepRecord)
    ]
