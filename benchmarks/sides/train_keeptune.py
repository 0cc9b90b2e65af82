"""keeptune's side of `train.py`: one `train_step` per command, batches made within the measured time."""

from __future__ import annotations

import time
from typing import Any

import torch

from common.memory import peak_bytes, release, reset_peak
from common.models import ModelSpec
from common.rows import load_tokenizer, read_examples
from common.workers import Channel
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.step import batches_for, train_step

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Trainer:
    """A freshly built model and its optimiser, with the rows of one set."""

    def __init__(self, settings: dict[str, Any], examples: str, method_name: str, lr: float) -> None:
        self.settings = settings
        self.rows = [Encoded(str(i), *example) for i, example in enumerate(read_examples(examples))]
        model = ModelSpec(**settings["model"]).build(DTYPES[settings["precision"]], settings["device"])
        self.lm = LanguageModel.wrap(model, load_tokenizer(settings["tokenizer"]), weights_hash="benchmark")
        method = LoraConfig(rank=16, alpha=32.0).build() if method_name == "lora" else FullConfig().build()
        self.lr = lr
        self.lm.adapt(method)
        self.lm.model.train()
        self.optimizer = MasterAdamW(method.trainable(self.lm.model).values())
        reset_peak(settings["device"])

    def step(self, number: int) -> dict[str, Any]:
        """One optimiser step over the rows whose turn it is."""
        size = self.settings["batch"]
        rows = self.rows[number * size : (number + 1) * size]
        started = time.perf_counter()
        batches = batches_for(self.lm, rows, self.settings["token_budget"])
        result = train_step(self.lm, batches, Objective(), self.optimizer, self.lr, clip=1.0)
        loss = float(result.loss)  # waits for the device
        return {
            "seconds": time.perf_counter() - started,
            "loss": loss,
            "examples": len(rows),
            "supervised": sum(len(row.completion_ids) for row in rows),
            "tokens": sum(len(row) for row in rows),
            "peak_memory_bytes": peak_bytes(self.settings["device"]),
        }


def main() -> None:
    """Answer ``load`` and ``step``."""
    channel = Channel()
    trainer: Trainer | None = None

    def load(examples: str, steps: int, method: str, lr: float) -> dict[str, Any]:
        nonlocal trainer
        trainer = None
        release()
        trainer = Trainer(channel.settings, examples, method, lr)
        return {"flat": trainer.lm.engine.name == "flat"}

    def step(number: int) -> dict[str, Any]:
        assert trainer is not None
        return trainer.step(number)

    channel.serve(load=load, step=step, stop=dict)


if __name__ == "__main__":
    main()
