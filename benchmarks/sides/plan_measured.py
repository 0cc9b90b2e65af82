"""One training in a process of its own, or one rank of it: its peak memory and the processor time of its steps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

import keeptune.study.run  # noqa: F401  # what a study's process has loaded
from common.models import ModelSpec
from common.workers import Channel
from keeptune.core import allocator
from keeptune.core.records import StepRecord
from keeptune.data.examples import Encoded
from keeptune.launch.torchrun import joined
from keeptune.methods.base import METHODS
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.tracking.base import Callback, Run
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.sharded import Sharding


class Clock(Callback):
    """Notes the processor's time after every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_start(self, run: Run) -> None:
        """Before the first step."""
        self.times.append(time.process_time())

    def after_step(self, run: Run, record: StepRecord) -> None:
        """After each."""
        self.times.append(time.process_time())


def main() -> None:
    """Answer "train" with peak bytes and seconds of every step."""
    allocator.keep_memory()
    channel = Channel()
    given = channel.settings
    torch.set_num_threads(1)
    rows = [Encoded(*row) for row in given["rows"]]
    lm = load("builtin", device="cpu", precision=given["precision"])
    if given["shape"] != "builtin":
        model = ModelSpec(given["shape"]).build(lm.dtype, "cpu").requires_grad_(False)
        lm = LanguageModel.wrap(model, lm.tokenizer, name=given["shape"], weights_hash=given["shape"])
    config = TrainConfig(epochs=given["steps"], global_batch=len(rows), token_budget=given["budget"])
    sharding = Sharding() if given["sharded"] else None
    os.environ.update(given["world"], RANK=str(given["rank"]), LOCAL_RANK=str(given["rank"]))

    def train() -> dict[str, object]:
        clock = Clock()
        with joined() as world:
            method = METHODS[given["method"]]().build()
            result = fit(
                *(lm, method, rows, [], config, Path(given["folder"])),
                lr=1e-5,
                hooks=[clock],
                world=world,
                sharding=sharding,
            )
        seconds = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
        return {"peak_bytes": result.peak_memory_bytes, "seconds": seconds}

    channel.serve(train=train)


if __name__ == "__main__":
    main()
