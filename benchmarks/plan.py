"""The plan beside what it planned: memory and time of trainings, predicted from the configuration and then measured.

Every training runs in the precision that the program takes on this machine, in a process of its own on one thread, or
in several that share it over gloo: then the rank that had most counts. Times are those of the processor, of the probe
and of the training, and the best of some in both, so that other work on the machine counts in neither as far as that
goes. The last line of the output is JSON; with --page the table of docs/plan-accuracy.md is written.
"""

from __future__ import annotations

import json
import math
import os
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.models import SHAPES, ModelSpec
from common.options import base_parser, parse, say
from common.page import filled
from common.report import finish, header
from common.ring import all_reduce
from common.workers import Worker
from keeptune.core import allocator
from keeptune.data.examples import Encoded
from keeptune.methods.base import METHODS
from keeptune.models.language_model import LanguageModel
from keeptune.models.precision import DTYPES, pick_dtype
from keeptune.models.sketch import empty_model, sketch
from keeptune.planning.memory import Layout
from keeptune.planning.predict import Machine, MethodPlan, Overhead, Workload, measured_overhead
from keeptune.study.settled import NAMES
from keeptune.train.microbatch_autotune import WANTED

QUICK = {"only": ["builtin"]}
VOCABULARY = 2000  # that rows are drawn from: every model knows so many tokens
BUDGET = WANTED["cpu"]
LENGTHS = {"short": (48, 16), "long": (176, 48)}  # tokens of prompts and completions, about


@dataclass(frozen=True)
class Case:
    """A training that is planned and measured."""

    shape: str
    method: str
    rows: int  # of a step
    lengths: str
    steps: int = 3
    ranks: int = 1
    sharded: bool = False
    precision: str = "bf16"

    @property
    def dtype(self) -> torch.dtype:
        """Of the stored weights."""
        return DTYPES[self.precision]

    @property
    def layout(self) -> Layout:
        """As the plan knows it; a training whose weights are sharded computes activations again."""
        return Layout(self.ranks, sharded=self.sharded, checkpointing=self.sharded)


CASES = (
    *(Case("builtin", method, rows, "long", 4) for method in ("full", "lora") for rows in (4, 16, 32)),
    *(Case("builtin", method, 16, "long", 4, ranks=2) for method in ("full", "lora")),
    *(Case("smollm2-10", method, rows, "long") for method in ("full", "lora") for rows in (2, 8)),
    *(Case("smollm2-10", "full", 8, "long", ranks=2, sharded=sharded) for sharded in (False, True)),
    *(Case("smollm2-135m", method, 4, "short") for method in ("full", "lora")),
    Case("smollm2-360m", "lora", 4, "short"),
)


def draw_rows(case: Case, vocabulary: int) -> list[Encoded]:
    """Random rows whose lengths differ; nothing is shared among them."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(case.rows):
        prompt, completion = (int(n * rng.uniform(0.7, 1.3)) for n in LENGTHS[case.lengths])
        ids = rng.integers(5, vocabulary, prompt + completion).tolist()
        rows.append(Encoded(str(number), tuple(ids[:prompt]), tuple(ids[prompt:])))
    return rows


@cache
def overhead(method: str, dtype: torch.dtype) -> Overhead:
    """Of a process that trains by a method."""
    return measured_overhead(METHODS[method](), dtype)


@cache
def ring(ranks: int) -> float:
    """Bytes per second of the processor's time between processes that share a training."""
    return all_reduce(ranks, time.process_time)


def planned(case: Case, rows: list[Encoded]) -> dict[str, Any]:
    """Bytes and seconds of a step for one rank, from the configuration alone."""
    started = time.process_time()
    lm = sketch("builtin", case.dtype)
    if case.shape != "builtin":
        model = empty_model(ModelSpec(case.shape).config(), case.dtype)
        lm = LanguageModel.sketch(model, lm.tokenizer, name=case.shape)
    machine = Machine.at_hand(torch.device("cpu"), time.process_time)
    network = ring(case.ranks) if case.ranks > 1 else math.inf
    machine = replace(machine, overhead=overhead(case.method, case.dtype), ring=network)
    plan = MethodPlan(lm, METHODS[case.method](), Workload([rows], BUDGET), machine)
    memory, step = plan.memory(case.layout), plan.step(case.layout)
    return {
        "parameters": lm.parameters,
        "micro_batch": plan.micro_batch(case.layout),
        "bytes": memory.total,
        "account": memory.model_dump(),
        "seconds": step.seconds,
        "step": asdict(step),
        "plan_seconds": time.process_time() - started,
    }


def measured(case: Case, rows: list[Encoded]) -> dict[str, Any]:
    """Bytes, and seconds of the best step after the first, of the rank that had most."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, ThreadPoolExecutor(case.ranks) as threads:
        settings = {
            **asdict(case),
            "budget": BUDGET,
            "rows": [(row.id, row.prompt_ids, row.completion_ids) for row in rows],
            "world": _world(case.ranks),
            "folder": str(Path(folder) / "run"),
        }
        workers = [
            stack.enter_context(Worker("plan_measured", {**settings, "rank": rank}, 1, Path(folder) / "log"))
            for rank in range(case.ranks)
        ]
        found = list(threads.map(lambda worker: worker.ask("train"), workers))
    seconds = max(min(each["seconds"][1:]) for each in found)
    return {"bytes": max(each["peak_bytes"] for each in found), "seconds": seconds}


def _world(ranks: int) -> dict[str, str]:
    """What a launcher tells its processes, but for the rank of each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}


def error(case: dict[str, Any], what: str) -> float:
    """Planned over measured, less one."""
    return float(case["planned"][what] / case["measured"][what] - 1)


def table(results: list[dict[str, Any]]) -> list[str]:
    """Rows of Markdown; a miss is marked."""
    lines = [
        "| model | method | ranks | rows a step | tokens a micro-batch | memory planned | measured | off"
        " | step planned | measured | off |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for each in results:
        memory, seconds = error(each, "bytes"), error(each, "seconds")
        lines.append(
            f"| {each['shape']}, {each['planned']['parameters'] / 1e6:.1f}M | {each['method']} | {_ranks(each)}"
            f" | {each['rows']} | {each['planned']['micro_batch']} | {each['planned']['bytes'] / 1e9:.2f} GB"
            f" | {each['measured']['bytes'] / 1e9:.2f} GB | {_off(memory, 0.1)}"
            f" | {each['planned']['seconds']:.2f} s | {each['measured']['seconds']:.2f} s | {_off(seconds, 0.2)} |"
        )
    return lines


def _ranks(case: dict[str, Any]) -> str:
    return "1" if case["ranks"] == 1 else f"{case['ranks']}, {'FSDP' if case['sharded'] else 'DDP'}"


def _off(share: float, wanted: float) -> str:
    text = f"{100 * share:+.0f} %".replace("-", "−")
    return text if abs(share) <= wanted else f"**{text}**"


def main() -> None:
    """Plan, measure, compare."""
    parser = base_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=("builtin", *SHAPES), help="these models")
    parser.add_argument("--methods", nargs="+", default=["full", "lora"], choices=("full", "lora"))
    parser.add_argument("--results", type=Path, help="a file of lines that is continued: one per training")
    parser.add_argument("--page", type=Path, help="the page whose table is written")
    options = parse(parser, QUICK)
    torch.set_num_threads(1)
    os.environ["GLIBC_TUNABLES"] = ""  # here and in the processes that train memory is kept as the program keeps it
    allocator.keep_memory()
    done = [json.loads(line) for line in options.results.read_text().splitlines()] if _there(options.results) else []
    precision = NAMES[str(pick_dtype("auto", torch.device("cpu")))]
    for case in (replace(each, precision=precision) for each in CASES):
        known = any(all(each.get(key) == value for key, value in asdict(case).items()) for each in done)
        if known or case.method not in options.methods or (options.only and case.shape not in options.only):
            continue
        rows = draw_rows(case, VOCABULARY)
        each = {**asdict(case), "planned": planned(case, rows), "measured": measured(case, rows)}
        done.append(each)
        if options.results:
            with options.results.open("a") as file:
                file.write(json.dumps(each) + "\n")
        say(f"{case}: memory {error(each, 'bytes'):+.1%}, time {error(each, 'seconds'):+.1%}")
    if options.page:
        page = filled(options.page, {"table": "\n".join(table(done))}, writer="plan")
        options.page.write_text(page, encoding="utf-8")
    worst = {what: max((abs(error(each, what)) for each in done), default=0.0) for what in ("bytes", "seconds")}
    finish({**header("plan", options), "results": done}, {"benchmark": "plan", **worst}, options.json)


def _there(path: Path | None) -> bool:
    return path is not None and path.is_file()


if __name__ == "__main__":
    main()
