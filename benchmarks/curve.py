"""Loss curves of the engine beside those of the padded float32 reference, at the same order of rows. See README.md."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from common.measured import code_hash
from keeptune import __version__
from keeptune.core.records import StepRecord, ValidationRecord, read_records
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.models.load import load
from keeptune.recipe.entries import TaskFile
from keeptune.recipe.tasks import build_entry
from keeptune.train.loop import TrainConfig, fit

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Curve:
    """One training: what it was, and the nats per trained token on the way."""

    engine: str
    precision: str
    seed: int  # of the order of the rows
    tokens: int  # of all rows, as often as they were seen
    seconds: float
    losses: list[float]  # of every step, before its update
    validation: float  # after the last step


def task_rows(lm: LanguageModel, names: list[str], validation_rows: int) -> tuple[list[Encoded], list[Encoded]]:
    """Encoded rows of the tasks for training and, up to ``validation_rows`` of each, for validation."""
    encoder = Encoder(lm.tokenizer, context=lm.context, chat=lm.chat)
    train: list[Encoded] = []
    validation: list[Encoded] = []
    for name in names:
        task = build_entry(TaskFile(task=name))
        wordings = task.wordings(encoder.chat)
        train += encoder.encode_all(wordings.for_training(example) for example in task.splits.train).rows
        kept = task.splits.validation[:validation_rows]
        validation += encoder.encode_all(wordings.fixed(example) for example in kept).rows
    return train, validation


def run(options: argparse.Namespace, engine: str, precision: str, seed: int) -> Curve:
    """Train a fresh copy of the model."""
    lm = load(options.model, device=options.device, precision=precision)
    train, validation = task_rows(lm, options.task, options.validation_rows)
    config = TrainConfig(
        epochs=math.ceil(options.steps * options.global_batch / len(train)) + 1,
        max_steps=options.steps,
        global_batch=options.global_batch,
        token_budget=options.token_budget,
        engine=engine,
    )
    method = (FullConfig() if options.method == "full" else LoraConfig()).build()
    with tempfile.TemporaryDirectory() as folder:
        result = fit(lm, method, train, validation, config, Path(folder), lr=options.lr, seed=seed)
        steps = list(read_records(Path(folder) / "steps.jsonl", StepRecord))
        validations = list(read_records(Path(folder) / "validation.jsonl", ValidationRecord))
    losses = [round(step.loss, 6) for step in steps]
    print(f"{engine} {precision} seed {seed}: {losses[0]:.4f} to {losses[-1]:.4f}", file=sys.stderr)
    return Curve(engine, precision, seed, result.tokens, round(result.seconds, 2), losses, validations[-1].loss)


def compare(curve: Curve, reference: Curve) -> dict[str, Any]:
    """How far apart two curves are, in nats, and their last validation losses, relative to the reference."""
    apart = [abs(a - b) for a, b in zip(curve.losses, reference.losses, strict=True)]
    return {
        "curve": f"{curve.engine} {curve.precision} seed {curve.seed}",
        "reference": f"{reference.engine} {reference.precision} seed {reference.seed}",
        "max_difference": round(max(apart), 6),
        "mean_difference": round(sum(apart) / len(apart), 6),
        "validation": curve.validation,
        "reference_validation": reference.validation,
        "validation_difference": round(curve.validation / reference.validation - 1, 6),
    }


def main() -> None:
    """Train, compare and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin", help="folder, hub name, or builtin")
    parser.add_argument("--task", nargs="+", default=["builtin:orders"], help="task files, or builtin:name")
    parser.add_argument("--method", default="full", choices=("full", "lora"))
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--global-batch", type=int, default=16)
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--validation-rows", type=int, default=100, help="of each task")
    parser.add_argument("--precision", nargs="+", default=PRECISIONS, choices=PRECISIONS, help="of the engine")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    reference, other_order = (run(options, "padded", "fp32", seed) for seed in (0, 1))
    curves = [run(options, "flat", precision, 0) for precision in options.precision]
    report = {
        "benchmark": "curve",
        "code": code_hash("curve"),
        "command": " ".join(["python", *sys.argv]),
        "keeptune": __version__,
        "torch": torch.__version__,
        "engine": [compare(curve, reference) for curve in curves],
        "seed_noise": compare(other_order, reference),
        "curves": [asdict(curve) for curve in (reference, other_order, *curves)],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
