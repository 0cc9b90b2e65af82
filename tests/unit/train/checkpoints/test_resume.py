"""A training that was broken off goes on to the bits of one that never was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.records import StepRecord, ValidationRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.tracking.base import Callback, Run
from keeptune.train.checkpoints.keeper import FOLDER
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.base import Remedy, RemedyInputs
from keeptune.train.remedies.ewc import EwcConfig
from keeptune.train.remedies.kl import KlConfig
from keeptune.train.remedies.replay import Replay

Rows = Callable[..., list[Encoded]]
CONFIG = TrainConfig(epochs=3, global_batch=5, token_budget=60, checkpoint_every=2, validations_per_epoch=2)
STEPS = 12  # four an epoch, validated after every second one


class BrokenOff(BaseException):
    """What SIGKILL is to a process."""


class BreakOff(Callback):
    """Ends a training after a step, or after the validation behind it."""

    def __init__(self, step: int = 0, *, validated: bool = False) -> None:
        self.step, self.validated = step, validated
        self.seen: list[int] = []

    def after_step(self, run: Run, record: StepRecord) -> None:
        self.seen.append(record.step)
        if record.step == self.step and not self.validated:
            raise BrokenOff

    def after_validation(self, run: Run, record: ValidationRecord) -> None:
        if record.step == self.step and self.validated:
            raise BrokenOff


class Counting(Callback):
    """A hook that remembers something."""

    def __init__(self) -> None:
        self.tokens = 0

    def after_step(self, run: Run, record: StepRecord) -> None:
        self.tokens += record.tokens

    def state_dict(self) -> dict[str, Any]:
        return {"tokens": self.tokens}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tokens = state["tokens"]


@dataclass(frozen=True)
class Outcome:
    """What a training leaves, but for its seconds."""

    result: dict[str, Any]
    model: str
    steps: list[StepRecord]
    validations: list[ValidationRecord]
    weights: list[tuple[str, bytes]]
    counted: int


@dataclass(frozen=True)
class Kind:
    """A kind of training. Everything is made anew in every process."""

    method: Any
    dtype: torch.dtype = torch.float32
    remedies: tuple[str, ...] = ()
    lr: float = 3e-3


KINDS = {
    "full": Kind(FullConfig()),
    "bf16": Kind(FullConfig(), dtype=torch.bfloat16),
    "lora": Kind(LoraConfig(rank=4, dropout=0.1), lr=1e-2),
    "replay and kl": Kind(FullConfig(), remedies=("replay", "kl")),
    "ewc": Kind(FullConfig(), remedies=("ewc",)),
}


@pytest.fixture
def train(build: Callable[..., Any], tokenizer: Any, branching_rows: Rows, tmp_path: Path) -> Callable[..., Outcome]:
    """Trains a fresh model in a folder of this name."""
    old = branching_rows(9, seed=4)
    remedies: dict[str, Callable[[], Remedy]] = {
        "kl": KlConfig().build,
        "replay": lambda: Replay({"old": old}, 0.2),
        "ewc": lambda: EwcConfig(examples=4).build(RemedyInputs(rehearsal_rows=lambda: {"old": old})),
    }

    def run(name: str, *hooks: Callback, kind: str = "full", config: TrainConfig = CONFIG, **more: Any) -> Outcome:
        folder, counting, made = tmp_path / name, Counting(), KINDS[kind]
        lm = LanguageModel.wrap(build("llama", attention_dropout=0.1).to(made.dtype), tokenizer)
        result = fit(
            lm,
            made.method.build(),
            branching_rows(19),
            branching_rows(6, seed=1),
            config,
            folder,
            seed=3,
            hooks=[counting, *hooks],
            remedies=[remedies[each]() for each in made.remedies],
            **{"lr": made.lr, **more},
        )
        return Outcome(
            {**vars(result), "seconds": 0, "tokens_per_second": 0, "peak_memory_bytes": 0},
            hash_parameters(lm.model),
            [r.model_copy(update={"seconds": 0}) for r in read_records(folder / "steps.jsonl", StepRecord)],
            list(read_records(folder / "validation.jsonl", ValidationRecord)),
            [(path.name, path.read_bytes()) for path in sorted(folder.glob("*/*.safetensors"))],
            counting.tokens,
        )

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_to_the_same_bits(train: Callable[..., Outcome], tmp_path: Path, kind: str) -> None:
    """Broken off before any checkpoint, at an epoch's border, in the second epoch, in a validation, at the end."""
    whole = train("whole", kind=kind)
    assert whole.result["steps"] == STEPS and len(whole.weights) == 1
    assert not (tmp_path / "whole" / FOLDER).exists()
    for end in (BreakOff(1), BreakOff(5), BreakOff(8), BreakOff(10, validated=True), BreakOff(12)):
        with pytest.raises(BrokenOff):
            train("broken", end, kind=kind)
    last = BreakOff()
    assert train("broken", last, kind=kind) == whole
    assert last.seen == [11, 12]
    assert not (tmp_path / "broken" / FOLDER).exists()


def test_the_newest_two_are_kept_and_left_for_a_caller_who_asks(train: Callable[..., Outcome], tmp_path: Path) -> None:
    train("run", key="of a study")
    assert sorted(path.name for path in (tmp_path / "run" / FOLDER).iterdir()) == ["step-00000010", "step-00000012"]
    again = BreakOff()
    assert train("run", again, key="of a study") == train("whole")
    assert again.seen == []  # all steps were taken


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 1e-3},
        {"key": "other"},
        {"config": CONFIG.model_copy(update={"clip": 0.5})},
        {"kind": "bf16"},
        {"kind": "replay and kl"},
    ],
    ids=["rate", "key", "setting", "dtype", "remedy"],
)
def test_another_training_does_not_go_on_from_it(train: Callable[..., Outcome], change: dict[str, Any]) -> None:
    with pytest.raises(BrokenOff):
        train("run", BreakOff(7))
    watch = BreakOff()
    train("run", watch, **change)
    assert watch.seen[0] == 1


def test_how_often_checkpoints_are_written_changes_nothing(train: Callable[..., Outcome]) -> None:
    whole = train("whole", config=CONFIG.model_copy(update={"checkpoint_every": "auto"}))
    with pytest.raises(BrokenOff):
        train("run", BreakOff(7), config=CONFIG.model_copy(update={"checkpoint_every": 3}))
    watch = BreakOff()
    assert train("run", watch, config=CONFIG.model_copy(update={"checkpoint_every": 5})) == whole
    assert watch.seen[0] == 7


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    train: Callable[..., Outcome], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BrokenOff):
        train("run", BreakOff(9))
    newest = tmp_path / "run" / FOLDER / "step-00000008" / "state-0.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    watch = BreakOff()
    with caplog.at_level(logging.WARNING):
        assert train("run", watch) == train("whole")
    assert watch.seen[0] == 7
    assert "step-00000008 is not used: state-0.safetensors is damaged" in caplog.text


def test_without_a_good_checkpoint_it_starts_again(
    train: Callable[..., Outcome], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BrokenOff):
        train("run", BreakOff(9))
    for file in (tmp_path / "run" / FOLDER).glob("*/manifest.json"):
        file.write_text("{}")
    watch = BreakOff()
    assert train("run", watch) == train("whole")
    assert watch.seen[0] == 1
    assert "starts again" in caplog.text
