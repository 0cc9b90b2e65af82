"""From what was measured here to thousands of ranks on paper: bytes, waiting, and where it breaks.

Measured: the share of this machine's product rate that a training step reaches, and an all-reduce between two and
three processes. On paper: everything about GPUs. With --page the tables of docs/scaling.md are written; the last line
of the output is JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ceiling import layer_sizes
from common.models import ModelSpec, Work
from common.options import base_parser, parse, say
from common.page import filled
from common.report import finish, header
from common.ring import all_reduce
from keeptune.methods.full import FullConfig
from keeptune.models.sketch import empty_model
from keeptune.planning.devices import COPYING, DEVICES, PER_MACHINE, Device, link_of
from keeptune.planning.memory import Layout, Sizes
from keeptune.planning.timing import UPDATE_BYTES, Rates, step_time
from plan import VOCABULARY, Case, draw_rows

SHAPES = {"0.36B": "smollm2-360m", "1.7B": "qwen3-1.7b", "8B": "llama-8b", "70B": "llama-70b"}
RANKS = (1, 8, 64, 512, 4096)
MICRO_BATCH, LENGTH, SCORED = 8192, 512, 0.25  # tokens at once, of a row, and the share that is trained on
REPEATS = 7


@dataclass(frozen=True)
class Shape:
    """A model on paper."""

    name: str
    sizes: Sizes
    flops: float  # of a token, full fine-tuning

    @classmethod
    def of(cls, name: str) -> Shape:
        """Counted without memory."""
        spec = ModelSpec(SHAPES[name])
        model = FullConfig().build().prepare(empty_model(spec.config(), torch.bfloat16))
        flops = Work.of(spec).flops([LENGTH], round(SCORED * LENGTH), "full") / LENGTH
        return cls(name, _sizes(model), flops)


class _Adapted:
    """What `Sizes.of` asks of a language model."""

    def __init__(self, model: Any) -> None:
        self.model = model


def _sizes(model: Any) -> Sizes:
    return Sizes.of(_Adapted(model), FullConfig().build())  # type: ignore[arg-type]


def product_rate(shape: str, tokens: int) -> float:
    """Operations per second of the processor's time, of a layer's forward products on one thread."""
    torch.set_num_threads(1)
    work = seconds = 0.0
    for _, rows, inputs, outputs in layer_sizes(ModelSpec(shape), tokens):
        left, right = torch.randn(rows, inputs).bfloat16(), torch.randn(outputs, inputs).bfloat16()
        times = []
        for _ in range(REPEATS):
            started = time.process_time()
            _ = left @ right.t()
            times.append(time.process_time() - started)
        work += 2.0 * rows * inputs * outputs
        seconds += statistics.median(times[2:])
    return work / seconds


def reached(results: Path) -> dict[str, float]:
    """Of every full fine-tuning in a report of plan.py: the share of the product rate that its steps reach."""
    found = {}
    for line in results.read_text().splitlines():
        case = json.loads(line)
        if case["method"] != "full" or case["shape"] == "builtin" or case["ranks"] > 1:
            continue
        rows = draw_rows(Case(**{each.name: case[each.name] for each in fields(Case)}), VOCABULARY)
        scored = sum(len(row.completion_ids) for row in rows)
        flops = Work.of(ModelSpec(case["shape"])).flops([len(row) for row in rows], scored, "full")
        found[f"{case['shape']}, {case['rows']} rows"] = (
            flops / case["measured"]["seconds"] / product_rate(case["shape"], case["planned"]["micro_batch"])
        )
    return found


def row(shape: Shape, device: Device, share: float, ranks: int, tokens: int) -> dict[str, Any]:
    """A shape on so many ranks, with a global batch of so many tokens."""
    rates = Rates(shape.flops / (share * device.flops), UPDATE_BYTES / (COPYING * device.bandwidth))
    batches = max(1, tokens // ranks // MICRO_BATCH)
    steps = {
        name: step_time(rates, shape.sizes, layout, tokens, batches, link_of(device, ranks), device)
        for name, layout in (("ddp", Layout(ranks)), ("fsdp", Layout(ranks, sharded=True)))
    }
    part = (ranks - 1) / ranks
    gathered = max(shape.sizes.beside_blocks + 3 * shape.sizes.largest_block, shape.sizes.dense)
    held = 18 * shape.sizes.trained // ranks + gathered
    return {
        "shape": shape.name,
        "ranks": ranks,
        "ddp_bytes": 2 * part * 4 * shape.sizes.trained,
        "fsdp_bytes": part * batches * (2 * shape.sizes.weights + 4 * shape.sizes.trained),
        "ddp_fits": 18 * shape.sizes.trained < 0.9 * device.memory,
        "fsdp_held": held,
        "fsdp_fits": held < 0.9 * device.memory,
        "starved": tokens / ranks < MICRO_BATCH,
        **{f"{name}_{what}": getattr(step, what) for name, step in steps.items() for what in ("seconds", "network")},
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown: waiting is the share of the step in which nothing is computed."""
    lines = [
        "| model | ranks | DDP: bytes a step | waiting | FSDP: held a rank | bytes a step | waiting | |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for each in rows:
        notes = ["less than a micro-batch a rank"] * each["starved"]
        notes += ["DDP does not fit"] * (not each["ddp_fits"]) + ["FSDP does not fit"] * (not each["fsdp_fits"])
        lines.append(
            f"| {each['shape']} | {each['ranks']:,} | {each['ddp_bytes'] / 1e9:,.1f} GB"
            f" | {each['ddp_network'] / each['ddp_seconds']:.0%} | {each['fsdp_held'] / 1e9:,.1f} GB"
            f" | {each['fsdp_bytes'] / 1e9:,.1f} GB | {each['fsdp_network'] / each['fsdp_seconds']:.0%}"
            f" | {', '.join(notes)} |"
        )
    return lines


def main() -> None:
    """Measure, carry on, write."""
    parser = base_parser(__doc__)
    parser.add_argument("results", type=Path, help="of plan.py --results")
    parser.add_argument("--gpu", default="H100-80GB", choices=DEVICES)
    parser.add_argument("--tokens", type=int, default=4 * 2**20, help="of a global batch")
    parser.add_argument("--page", type=Path, help="the page whose tables are written")
    options = parse(parser, {})
    shares = reached(options.results)
    for name, share in shares.items():
        say(f"{name}: {share:.0%} of the product rate")
    share = statistics.median(shares.values())
    links = {ranks: all_reduce(ranks) for ranks in (2, 3)}
    for ranks, link in links.items():
        say(f"all-reduce of {ranks} processes: {link / 1e9:.2f} GB/s a link")
    rows = [
        row(shape, DEVICES[options.gpu], share, ranks, options.tokens)
        for shape in map(Shape.of, SHAPES)
        for ranks in RANKS
    ]
    measured = [
        *(f"- {name}: {value:.0%} of the rate of its layers' forward products" for name, value in shares.items()),
        *(f"- all-reduce of {n} processes: {link / 1e9:.2f} GB/s on every link" for n, link in links.items()),
    ]
    if options.page:
        parts = {"measured": "\n".join(measured), "paper": "\n".join(table(rows))}
        options.page.write_text(filled(options.page, parts, writer="scaling"), encoding="utf-8")
    found = {"share": share, "links": links, "rows": rows}
    last = {"benchmark": "scaling", "share": share, "per_machine": PER_MACHINE}
    finish({**header("scaling", options), **found}, last, options.json)


if __name__ == "__main__":
    main()
