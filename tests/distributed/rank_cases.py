"""What every process of a group does: the cases of `test_ranks`, one after another. Not collected by pytest."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from keeptune.batching.trie import ScoringRequest
from keeptune.core.quiet import quiet_libraries
from keeptune.core.records import StepRecord, ValidationRecord, read_records
from keeptune.data.examples import Encoded
from keeptune.inference.generate import generate, sample
from keeptune.inference.score import choice_logprobs, ranked_logprobs, row_nats
from keeptune.inference.spread import spread
from keeptune.launch.torchrun import joined
from keeptune.launch.world import ALONE, World
from keeptune.methods.base import METHODS
from keeptune.models.load import load
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.remedies.base import REMEDIES, RemedyInputs
from keeptune.train.sharded import Sharding

MODELS = ("builtin", "qwen3", "gpt2", "t5")
METHODS_AND_REMEDIES = (("full", "kl"), ("lora", "replay"), ("lora", "kl"), ("prompt-tuning", "replay"))
TRAIN = TrainConfig(epochs=1, global_batch=7, max_steps=4, token_budget=64, warmup=0.5)
RATES = {"full": 1e-3, "lora": 1e-2, "prompt-tuning": 1e-2}


@dataclass(frozen=True)
class Case:
    """A short training."""

    model: str
    method: str
    remedy: str

    @property
    def name(self) -> str:
        return f"{self.model}-{self.method}-{self.remedy}"


CASES = [Case(model, *both) for model in MODELS for both in METHODS_AND_REMEDIES]


def train(case: Case, inputs: Path, folder: Path, world: World, sharding: Sharding | None = None) -> dict[str, Any]:
    """Final weights by name, and the losses of every step and validation (by the main process)."""
    lm = model_of(case.model, inputs)
    rows, old = rows_of(case.model, inputs)
    method = METHODS[case.method]().build()
    settings = {"share": 0.3} if case.remedy == "replay" else {}
    remedy = REMEDIES[case.remedy](**settings).build(RemedyInputs(rehearsal_rows=lambda: {"old": old}))
    fit(
        *(lm, method, rows, rows[:5], TRAIN, folder),  # validated on rows that it learns: the last step is the best
        lr=RATES[case.method],
        remedies=[remedy],
        world=world,
        sharding=sharding,
    )
    return {name: tensor.clone() for name, tensor in method.trainable(lm.model).items()}


def losses(folder: Path) -> list[float]:
    """Of every step, then of every validation."""
    steps = [record.loss for record in read_records(folder / "steps.jsonl", StepRecord)]
    return steps + [record.loss for record in read_records(folder / "validation.jsonl", ValidationRecord)]


def model_of(name: str, inputs: Path) -> Any:
    return load("builtin" if name == "builtin" else str(inputs / name), device="cpu", precision="fp32")


def rows_of(name: str, inputs: Path) -> tuple[list[Encoded], list[Encoded]]:
    """(rows to learn, rows to replay)."""
    read = json.loads((inputs / ("pairs.json" if name == "t5" else "rows.json")).read_text())
    rows = [Encoded(f"row{number}", tuple(prompt), tuple(answer)) for number, (prompt, answer) in enumerate(read)]
    return rows[:-6], rows[-6:]


def answers(name: str, inputs: Path, world: World) -> Iterator[tuple[str, Any]]:
    """What a model scores and generates, by processes together."""
    lm = model_of(name, inputs)
    rows, _ = rows_of(name, inputs)
    asked = [row for row in rows if row.prompt_ids and row.completion_ids]
    requests = [ScoringRequest(row.prompt_ids, [row.completion_ids, row.completion_ids[:1]]) for row in asked]
    prompts = [row.prompt_ids for row in asked]
    with spread(lm, world):
        yield "nats", row_nats(lm, asked, 64)
        yield "choices", choice_logprobs(lm, requests, token_budget=64)
        yield "ranked", ranked_logprobs(lm, requests, token_budget=64)
        yield "text", generate(lm, prompts, 6)
        yield "sample", sample(lm, prompts, 6, seed=1)
        yield "one", generate(lm, prompts[:1], 6)


def main(inputs: Path, out: Path, models: str = ",".join(MODELS)) -> None:
    """Leave the results of all cases in ``out``."""
    quiet_libraries()
    torch.set_num_threads(1)
    with joined() as world:
        for case in [case for case in CASES if case.model in models.split(",")]:
            for kind, sharding in (("ddp", None), ("fsdp", Sharding())):
                name = f"{case.name}-{kind}"
                weights = train(case, inputs, out / name, world, sharding)
                everywhere = world.gather(b"".join(tensor.detach().numpy().tobytes() for tensor in weights.values()))
                assert len(set(everywhere)) == 1, f"{name}: weights differ between ranks"
                if world.is_main:
                    save_file(weights, out / f"{name}.safetensors")
        for model in models.split(","):
            alone, together = dict(answers(model, inputs, ALONE)), dict(answers(model, inputs, world))
            assert together == alone, f"{model}: other answers than those of one process"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
