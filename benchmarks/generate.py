"""Greedy generation, every row to its own length: keeptune against transformers at its best batch. See README.md."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ceiling import ceilings
from common.figures import ratios, rounded, spread
from common.models import ModelSpec, Work
from common.options import base_parser, model_spec, parse, say
from common.report import finish, header, versions
from common.rows import PROSE, encode, load_tokenizer, prepare_tokenizer, read_set
from common.workers import Worker

Run = dict[str, Any]
QUICK = {"items": 64, "pick_items": 32, "batches": [8, 32], "rounds": 2, "check_items": 16}


def items_of(options: argparse.Namespace, folder: Path) -> tuple[list[tuple[list[int], int]], Path]:
    """(prompt, length of its first reference) of every item, and the tokenizer's folder."""
    data = read_set(options.data, options.seed)
    tokenizer = prepare_tokenizer([data], options.tokenizer, folder / "tokenizer")
    firsts = [type(row)(row.prompt, row.completions[:1]) for row in data.rows]
    examples = encode(firsts, load_tokenizer(tokenizer), options.max_length)
    return [(list(prompt), len(completion)) for prompt, completion in examples[: options.items]], tokenizer


def best_batch(worker: Worker, batches: Sequence[int], first: int) -> tuple[int, dict[int, float]]:
    """The peer's fastest batch size on the first items, and new tokens per second at each."""
    rates = {}
    worker.ask("generate", first=2, batch=2)  # warm-up
    for batch in batches:
        rates[batch] = rounded(tokens_per_second(worker.ask("generate", first=first, batch=batch)))
        say(f"transformers, batch {batch}: {rates[batch]} new tokens/s")
    return max(rates, key=rates.__getitem__), rates


def tokens_per_second(run: Run) -> float:
    """New tokens that were wanted."""
    return sum(map(len, run["outputs"])) / float(run["seconds"])


def compare_outputs(ours: Sequence[list[int]], theirs: Sequence[list[int]], peer: Worker) -> dict[str, Any]:
    """Rows that differ, and how far apart the two best logits lay where they first do (in the peer's own pass)."""
    gaps = []
    for row, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            gaps.append(peer.ask("gap", row=row, after=b[:at])["gap"])
    return {
        "rows": len(ours),
        "rows_that_differ": len(gaps),
        "agreement": rounded(1 - len(gaps) / len(ours), 6),
        "largest_gap_of_best_logits": rounded(max(gaps), 3) if gaps else None,
    }


def useful_flops(items: Sequence[tuple[list[int], int]], work: Work) -> float:
    """Every token of prompt and completion once, the head at new tokens only."""
    return work.flops([len(p) + n for p, n in items], sum(n for _, n in items), "inference")


def measure(
    workers: Sequence[Worker], options: argparse.Namespace, items: Sequence[Any], work: Work, ceiling: float
) -> dict[str, Any]:
    """Rates of the sides by turns, and whether their tokens are the same."""
    workers[0].ask("generate", first=8, batch=8)  # warm-up
    batch, tried = best_batch(workers[1], options.batches, options.pick_items) if workers[1:] else (1, {})
    runs: list[list[Run]] = [[] for _ in workers]
    for _ in range(options.rounds):
        for worker, done in zip(workers, runs, strict=True):
            done.append(worker.ask("generate", first=len(items), batch=batch))
    found: dict[str, Any] = {"items": len(items), "batch": batch, "batches_tried": tried}
    for name, of_side in zip(("keeptune", "peer"), runs, strict=False):
        rates = [useful_flops(items, work) / run["seconds"] / ceiling for run in of_side]
        found[name] = {
            "new_tokens_per_s": spread([tokens_per_second(run) for run in of_side]),
            "peak_memory_bytes": max(run["peak_memory_bytes"] or 0 for run in of_side),
            "utilisation": rounded(spread(rates)["median"], 3),
        }
    if workers[1:]:
        found["ratio"] = ratios(*([tokens_per_second(run) for run in of_side] for of_side in runs))
        found["outputs"] = compare_outputs(runs[0][0]["outputs"], runs[1][0]["outputs"], workers[1])
    return found


def check(workers: Sequence[Worker], n: int, batch: int) -> dict[str, Any]:
    """Outputs only, for the precision that is not timed."""
    ours, theirs = (worker.ask("generate", first=n, batch=batch)["outputs"] for worker in workers)
    return {"outputs": compare_outputs(ours, theirs, workers[1])}


def run(options: argparse.Namespace, spec: ModelSpec, folder: Path, ceiling: dict[str, Any]) -> dict[str, Any]:
    """Time in the first precision, compare tokens in all."""
    items, tokenizer = items_of(options, folder)
    (folder / "items.json").write_text(json.dumps(items))
    result: dict[str, Any] = {
        "mean_prompt_tokens": rounded(sum(len(p) for p, _ in items) / len(items)),
        "mean_new_tokens": rounded(sum(n for _, n in items) / len(items)),
    }
    modules = ["generate_keeptune"] if options.without_peer else ["generate_keeptune", "generate_transformers"]
    for number, precision in enumerate(options.precision):
        settings = {
            "model": asdict(spec),
            "tokenizer": str(tokenizer),
            "device": options.device,
            "precision": precision,
            "items": str(folder / "items.json"),
        }
        workers = [Worker(m, settings, options.threads, folder / f"{m}.log") for m in modules]
        try:
            if number == 0:
                result[precision] = measure(workers, options, items, Work.of(spec), ceiling[precision])
            elif workers[1:]:
                n = min(options.check_items or len(items), len(items))
                result[precision] = check(workers, n, result[options.precision[0]]["batch"])
            say(f"{precision}: {result.get(precision)}")
        finally:
            for worker in workers:
                worker.close()
    return result


def main() -> None:
    """Generate, compare, report."""
    parser = base_parser(__doc__)
    parser.add_argument("--data", default=PROSE, help="FILE.jsonl[:PART], or built-in prose")
    parser.add_argument(
        "--precision", nargs="+", default=["bf16", "fp32"], choices=("bf16", "fp32"), help="the first is timed"
    )
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2, help="times that all items are generated")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64, 128], help="to try for transformers")
    parser.add_argument("--pick-items", type=int, default=128, help="items on which its batch size is chosen")
    parser.add_argument("--check-items", type=int, default=0, help="items in the other precisions; 0: all")
    parser.add_argument("--max-length", type=int, default=512, help="longer examples are left out")
    parser.add_argument("--without-peer", action="store_true", help="only keeptune's own rates")
    options = parse(parser, QUICK)
    spec = model_spec(options)
    ceiling = ceilings(options)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        result = run(options, spec, Path(name), ceiling)
    found = result[options.precision[0]]
    exact = result.get("fp32", {}).get("outputs")
    last = {
        "ratio": found.get("ratio", {}).get("median"),
        "agreement": exact and exact["agreement"],
        "peer": None if options.without_peer else f"transformers {versions()['transformers']} batch {found['batch']}",
    }
    report = {**header("generate", options), "variant": spec.name, "model": spec.name, "ceiling": ceiling}
    finish({**report, "result": result}, last, options.json)


if __name__ == "__main__":
    main()
