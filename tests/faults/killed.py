"""A small training that is killed at a chosen moment and continued; not a test itself.

    python killed.py MODEL FOLDER NUMBER...

Every NUMBER says at which event a training of its own is killed by SIGKILL: events are steps, and the beginning, the
middle and the end of what is written. The training is then continued, in a process that knows nothing. One
that is never killed comes first. Printed is a line of JSON for each: what it left, or how many events there are.

Processes are forked from this one, which has imported everything and trained nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.tracking import records
from keeptune.train import loop
from keeptune.train.best import Best
from keeptune.train.checkpoints import folder as checkpoint_folder
from keeptune.train.loop import TrainConfig, fit

CONFIG = TrainConfig(epochs=3, global_batch=4, token_budget=60, checkpoint_every=2, validations_per_epoch=2)
KINDS = 4  # trainings of different seeds and methods


class Events:
    """Counts what happens, and ends the process at one of the events."""

    def __init__(self, last: int) -> None:
        self.last, self.count = last, 0

    def happens(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, place: Any, name: str) -> None:
        """Make every call of a function two events."""
        real: Callable[..., Any] = getattr(place, name)

        def watched(*given: Any, **named: Any) -> Any:
            self.happens()
            made = real(*given, **named)
            self.happens()
            return made

        setattr(place, name, watched)

    def watch(self) -> None:
        for name in ("fsync", "link", "rename", "replace", "mkdir", "unlink"):
            self.around(os, name)
        self.around(loop, "train_step")
        self.around(records, "write_records")
        self.around(Best, "_write")
        self.around(Path, "rename")
        self.around(checkpoint_folder.CheckpointFolder, "restore")
        real = checkpoint_folder.CheckpointFolder._put

        def torn(this: Any, path: Path, data: bytes) -> Any:
            path.write_bytes(data[: len(data) // 2])
            self.happens()
            return real(this, path, data)

        checkpoint_folder.CheckpointFolder._put = torn  # type: ignore[method-assign]


def rows(count: int, seed: int) -> list[Encoded]:
    draw = random.Random(seed)

    def ids(most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 300) for _ in range(draw.randint(2, most)))

    return [Encoded(f"row{i}", ids(12), (*ids(6), 2)) for i in range(count)]


def train(lm: LanguageModel, run: Path, number: int) -> None:
    """Full fine-tuning or LoRA with dropout, in turn; leaves outcome.json."""
    method = LoraConfig(rank=4, dropout=0.1) if number % 2 else FullConfig()
    result = fit(lm, method.build(), rows(18, 0), rows(6, 1), CONFIG, run, lr=3e-3, seed=number)
    steps = [json.loads(line) | {"seconds": 0} for line in (run / "steps.jsonl").read_text().splitlines()]
    weights = {
        str(path.relative_to(run)): sha256(path.read_bytes()).hexdigest() for path in run.glob("*/*.safetensors")
    }
    outcome = {
        "steps": steps,
        "validations": (run / "validation.jsonl").read_text(),
        "weights": weights,
        "result": [result.steps, result.best_step, result.best_loss, result.tokens, result.trained_tokens],
    }
    (run / "outcome.json").write_text(json.dumps(outcome, sort_keys=True))


def in_a_process(work: Callable[..., None], *given: Any) -> int:
    """How a forked process ended."""
    child = os.fork()
    if child == 0:
        try:
            work(*given)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train_until(lm: LanguageModel, run: Path, number: int, last: int) -> None:
    """The same, killed at an event; the number of events is left where it is not reached."""
    events = Events(last)
    events.watch()
    train(lm, run, number)
    (run / "events").write_text(str(events.count))


def main(model: str, folder: str, *numbers: str) -> None:
    torch.set_num_threads(1)
    lm, place = load(model, precision="fp32", device="cpu"), Path(folder)
    for number in map(int, numbers):
        kind, run = number % KINDS, place / f"run-{number}"
        whole = place / f"whole-{kind}"
        if not whole.exists():
            assert in_a_process(train_until, lm, whole, kind, -1) == 0
        total = int((whole / "events").read_text())
        last = random.Random(number).randint(1, total)
        code = in_a_process(train_until, lm, run, kind, last)
        if not (run / "outcome.json").exists():
            assert in_a_process(train, lm, run, kind) == 0
        same = (run / "outcome.json").read_text() == (whole / "outcome.json").read_text()
        print(json.dumps({"number": number, "event": last, "of": total, "code": code, "same": same}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
