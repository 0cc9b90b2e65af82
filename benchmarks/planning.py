"""Time per row and memory of planning and batching, from 1,000 to 100,000 rows; and of 200 training steps on them.

Both should be flat: nothing may grow with the number of rows but the rows themselves. Every size runs in a process of
its own.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.figures import rounded, spread
from common.memory import peak_bytes, release, reset_peak, resident_bytes
from common.models import ModelSpec
from common.options import base_parser, model_spec, parse, say
from common.report import finish, header
from common.rows import PROSE, load_tokenizer, make_tokenizer, read_set
from common.workers import Worker
from keeptune.batching.plan import global_batches, micro_batches
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.step import batches_for, train_step

QUICK = {"rows": [1000, 10_000], "steps": 20}
WARMUP = 512  # rows that are batched before the clock starts: first calls are slower
SHARED = 24  # tokens that all prompts begin with


def draw_rows(n: int, vocabulary: int, seed: int) -> list[Encoded]:
    """Rows with the lengths of short dialogues and their summaries, random ids after a common beginning."""
    rng = np.random.default_rng(seed)
    prompts = np.clip(rng.lognormal(np.log(110), 0.6, n), 20, 400).astype(int)
    completions = np.clip(rng.lognormal(np.log(20), 0.6, n), 4, 80).astype(int)
    beginning = tuple(rng.integers(2, vocabulary, SHARED).tolist())

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.integers(2, vocabulary, length).tolist())

    return [
        Encoded(str(i), beginning + ids(p), ids(c)) for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
    ]


def plan_epoch(rows: Sequence[Encoded], batch: int, token_budget: int) -> dict[str, Any]:
    """Batches of one epoch, made one step at a time and dropped: seconds per row, and memory beyond the rows."""
    micro_batches(rows[:WARMUP], token_budget)
    release()
    reset_peak("cpu")
    before = resident_bytes() or 0
    started = time.perf_counter()
    made = sum(
        len(micro_batches([rows[i] for i in indices], token_budget))
        for indices in global_batches(len(rows), batch, seed=0, epoch=0)
    )
    seconds = time.perf_counter() - started
    return {
        "micro_batches": made,
        "microseconds_per_row": rounded(1e6 * seconds / len(rows)),
        "peak_memory_beyond_rows_bytes": max(0, (peak_bytes("cpu") or 0) - before),
    }


def train(spec: ModelSpec, tokenizer: str, rows: Sequence[Encoded], batch: int, token_budget: int, steps: int) -> Any:
    """Steps of full fine-tuning on the first global batches: seconds per step and memory beyond the rows."""
    lm = LanguageModel.wrap(spec.build(torch.float32, "cpu"), load_tokenizer(tokenizer), weights_hash="benchmark")
    method = FullConfig().build()
    lm.adapt(method)
    lm.model.train()
    optimizer = MasterAdamW(method.trainable(lm.model).values())
    release()
    reset_peak("cpu")
    before = resident_bytes() or 0
    times = []
    epochs = (global_batches(len(rows), batch, seed=0, epoch=epoch) for epoch in itertools.count())
    for indices in itertools.islice(itertools.chain.from_iterable(epochs), steps):
        started = time.perf_counter()
        batches = batches_for(lm, [rows[i] for i in indices], token_budget)
        train_step(lm, batches, Objective(), optimizer, lr=1e-4, clip=1.0)
        times.append(time.perf_counter() - started)
    memory = max(0, (peak_bytes("cpu") or 0) - before)
    return {"seconds_per_step": spread(times[1:]), "peak_memory_beyond_rows_bytes": memory}


def main() -> None:
    """Every size in turn, a line for each, JSON at the end."""
    parser = base_parser(__doc__)
    parser.set_defaults(shape="tiny")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000, 100_000])
    parser.add_argument("--batch", type=int, default=16, help="examples per optimiser step")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    parser.add_argument("--token-budget", type=int, default=4096)
    options = parse(parser, QUICK)
    spec = model_spec(options)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        tokenizer = Path(options.tokenizer or name)
        if not options.tokenizer:
            make_tokenizer([row.prompt for row in read_set(PROSE, options.seed).rows], tokenizer)
        settings = {
            "model": asdict(spec),
            "tokenizer": str(tokenizer),
            "vocabulary": len(load_tokenizer(tokenizer)),
            "batch": options.batch,
            "token_budget": options.token_budget,
            "steps": options.steps,
        }
        sizes = []
        for n in options.rows:
            with Worker("planning_size", settings, options.threads, Path(name) / "log") as worker:
                sizes.append(worker.ask("size", n=n))
            say(json.dumps(sizes[-1]))
    last = {str(each["rows"]): each["planning"]["microseconds_per_row"] for each in sizes}
    finish({**header("planning", options), "model": spec.name, "sizes": sizes}, last, options.json)


if __name__ == "__main__":
    main()
