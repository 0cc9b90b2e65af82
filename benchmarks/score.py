"""Scoring of choices: keeptune against lm-eval's Hugging Face backend, on the same token ids. See README.md."""

from __future__ import annotations

import argparse
import json
import random
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
from common.rows import PROSE, Example, encode, load_tokenizer, prepare_tokenizer, read_set
from common.workers import Worker

Item = tuple[list[int], list[list[int]]]  # prompt with its shots, choices
MANY, ONE = "two_or_more_tokens", "one_token"
QUICK = {"items": 20, "shots": 3, "rounds": 2, "pick_items": 4, "batches": [4]}
CHOICES = 4
SECONDS_PER_PICK = 120.0  # batch sizes after one that took longer than this are not tried


def make_items(examples: Sequence[Example], shots: int, n: int, seed: int) -> dict[str, list[Item]]:
    """Items after the same first ``shots`` examples.

    The choices are an item's own completion and three that other rows have; the one-token kind has the first tokens
    of four completions that begin differently. Completions of fewer than two tokens are no choices.
    """
    draw = random.Random(seed)
    prefix = [token for prompt, completion in examples[:shots] for token in prompt + completion]
    usable = [e for e in examples[shots:] if len(e[1]) > 2]  # two tokens and the end token
    pool = sorted({completion[:-1] for _, completion in usable})
    items: dict[str, list[Item]] = {MANY: [], ONE: []}
    for prompt, completion in usable[:n]:
        own = completion[:-1]
        others = draw.sample([c for c in pool if c != own], CHOICES - 1)
        items[MANY].append(([*prefix, *prompt], [list(c) for c in (own, *others)]))
        first = sorted({c[0] for c in pool if c[0] != own[0]})
        if len(first) >= CHOICES - 1:
            letters = [own[0], *draw.sample(first, CHOICES - 1)]
            items[ONE].append(([*prefix, *prompt], [[token] for token in letters]))
    if len(items[MANY]) < n:
        say(f"the set has only {len(items[MANY])} items")
    return items


def best_batch(worker: Worker, batches: Sequence[int], first: int) -> tuple[int, dict[int, float]]:
    """The peer's fastest batch size on the first items, and items per second at each."""
    rates: dict[int, float] = {}
    worker.ask("score", kind=MANY, first=2, batch=batches[0])  # warm-up
    for batch in batches:
        seconds = worker.ask("score", kind=MANY, first=first, batch=batch)["seconds"]
        rates[batch] = rounded(first / seconds)
        say(f"lm-eval, batch {batch}: {rates[batch]} items/s")
        if seconds > SECONDS_PER_PICK:
            break
    return max(rates, key=rates.__getitem__), rates


def measure(workers: Sequence[Worker], kind: str, n: int, rounds: int, batch: int) -> list[list[dict[str, Any]]]:
    """All items, the sides by turns."""
    results: list[list[dict[str, Any]]] = [[] for _ in workers]
    for _ in range(rounds):
        for worker, done in zip(workers, results, strict=True):
            done.append(worker.ask("score", kind=kind, first=n, batch=batch))
    return results


def agreement(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """Share of items whose likeliest choice is the same."""
    same = [_argmax(a) == _argmax(b) for a, b in zip(ours, theirs, strict=True)]
    return rounded(sum(same) / len(same), 6)


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def flops(items: Sequence[Item], work: Work) -> float:
    """Useful operations without sharing: every choice after its whole prompt."""
    pairs = [(len(prompt), len(choice)) for prompt, choices in items for choice in choices]
    return work.flops([a + b for a, b in pairs], sum(b for _, b in pairs), "inference")


def compare(
    workers: Sequence[Worker], items: Sequence[Item], kind: str, rounds: int, batch: int, work: Work, ceiling: float
) -> dict[str, Any]:
    """One kind of items in one precision."""
    names = ("keeptune", "peer")
    results = dict(zip(names, measure(workers, kind, len(items), rounds, batch), strict=False))
    useful = flops(items, work) / len(items)
    rates = {name: [len(items) / run["seconds"] for run in runs] for name, runs in results.items()}
    found: dict[str, Any] = {"items": len(items)}
    for name, runs in results.items():
        found[name] = {
            "items_per_s": spread(rates[name]),
            "peak_memory_bytes": max(run["peak_memory_bytes"] or 0 for run in runs),
            "utilisation": rounded(spread(rates[name])["median"] * useful / ceiling, 3),
        }
    if len(results) == 2:
        found["ratio"] = ratios(rates["keeptune"], rates["peer"])
        ours, theirs = (runs[0]["logprobs"] for runs in results.values())
        exact = workers[1].ask("score", kind=kind, first=len(items), batch=batch, exact=True)["logprobs"]
        found["agreement"] = agreement(ours, exact)
        found["agreement_with_rounded_logprobs"] = agreement(ours, theirs)
    say(f"{kind}: {found}")
    return found


def run(options: argparse.Namespace, spec: ModelSpec, folder: Path, ceiling: dict[str, Any]) -> dict[str, Any]:
    """Every precision, each in fresh processes."""
    data = read_set(options.data, options.seed)
    tokenizer = prepare_tokenizer([data], options.tokenizer, folder / "tokenizer")
    examples = encode(data.rows, load_tokenizer(tokenizer), options.max_length)
    items = make_items(examples, options.shots, options.items, options.seed)
    (folder / "items.json").write_text(json.dumps(items))
    work, result = Work.of(spec), {"set": data.name, "mean_prompt_tokens": mean_prompt(items[MANY])}
    modules = ["score_keeptune"] if options.without_peer else ["score_keeptune", "score_lm_eval"]
    for precision in options.precision:
        settings = {
            "model": asdict(spec),
            "tokenizer": str(tokenizer),
            "device": options.device,
            "precision": precision,
            "items": str(folder / "items.json"),
        }
        workers = [Worker(m, settings, options.threads, folder / f"{m}.log") for m in modules]
        try:
            workers[0].ask("score", kind=MANY, first=8, batch=1)  # warm-up
            batch, tried = best_batch(workers[1], options.batches, options.pick_items) if workers[1:] else (1, {})
            found: dict[str, Any] = {"batch": batch, "batches_tried": tried}
            rounds = options.rounds if precision == options.precision[0] else 1  # the rest is for agreement
            for kind in (MANY, ONE):
                if items[kind]:
                    rate = ceiling[precision]
                    found[kind] = compare(workers, items[kind], kind, rounds, batch, work, rate)
            result[precision] = found
        finally:
            for worker in workers:
                worker.close()
    return result


def mean_prompt(items: Sequence[Item]) -> float:
    """Tokens of the average prompt, shots included."""
    return rounded(sum(len(prompt) for prompt, _ in items) / len(items))


def main() -> None:
    """Score in every precision, report."""
    parser = base_parser(__doc__)
    parser.add_argument("--data", default=PROSE, help="FILE.jsonl[:PART], or built-in prose")
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp32"], choices=("bf16", "fp32"))
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--shots", type=int, default=5, help="examples in front of every item, the same ones")
    parser.add_argument("--rounds", type=int, default=2, help="times that all items are scored, in the first precision")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32], help="batch sizes to try for lm-eval")
    parser.add_argument("--pick-items", type=int, default=16, help="items on which its batch size is chosen")
    parser.add_argument("--max-length", type=int, default=512, help="longer examples are left out")
    parser.add_argument("--without-peer", action="store_true", help="only keeptune's own rates")
    options = parse(parser, QUICK)
    spec = model_spec(options)
    ceiling = ceilings(options)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        result = run(options, spec, Path(name), ceiling)
    found = result[options.precision[0]]
    last = {
        "ratio": found[MANY].get("ratio", {}).get("median"),
        "agreement": found[MANY].get("agreement"),
        "peer": None if options.without_peer else f"lm-eval {versions().get('lm_eval')} batch {found['batch']}",
    }
    report = {**header("score", options), "variant": spec.name, "model": spec.name, "ceiling": ceiling}
    finish({**report, "result": result}, last, options.json)


if __name__ == "__main__":
    main()
