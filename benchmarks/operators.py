"""Where the time of one training step goes, by operator. See README.md."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from common.models import ModelSpec
from common.options import base_parser, model_spec, parse, say
from common.report import finish, header
from common.rows import PROSE, encode, load_tokenizer, prepare_tokenizer, read_set, write_examples
from sides.train_keeptune import Trainer

WARMUP = 2
QUICK = {"shape": "tiny", "batch": 8}
SHOWN = 20  # operators with the largest time of their own


def operators(trainer: Trainer, step: int) -> dict[str, Any]:
    """Seconds of the step and its operators, largest first; the time of an operator excludes what it calls."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        seconds = trainer.step(step)["seconds"]
    rows = sorted(found.key_averages(), key=lambda each: -each.self_cpu_time_total)
    total = sum(each.self_cpu_time_total for each in rows)
    shown = [
        {"operator": each.key, "share": round(each.self_cpu_time_total / total, 4), "calls": each.count}
        for each in rows[:SHOWN]
    ]
    return {"seconds": seconds, "operators": shown}


def settings_of(options: Any, spec: ModelSpec, tokenizer: Path) -> dict[str, Any]:
    """What the training side of `train.py` is told."""
    return {
        "model": asdict(spec),
        "tokenizer": str(tokenizer),
        "device": options.device,
        "batch": options.batch,
        "token_budget": options.token_budget,
        "precision": options.precision,
    }


def main() -> None:
    """Profile the third step and report."""
    parser = base_parser(__doc__)
    parser.add_argument("--data", default=PROSE, help="FILE.jsonl[:PART], or built-in prose")
    parser.add_argument("--batch", type=int, default=64, help="examples per optimiser step")
    parser.add_argument("--method", default="full", choices=("full", "lora"))
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--token-budget", type=int, default=4096)
    parser.add_argument("--max-length", type=int, default=512, help="longer examples are left out")
    options = parse(parser, QUICK)
    spec = model_spec(options)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        data = read_set(options.data, options.seed)
        tokenizer = prepare_tokenizer([data], options.tokenizer, Path(name) / "tokenizer")
        examples = encode(data.rows, load_tokenizer(tokenizer), options.max_length)
        needed = options.batch * (WARMUP + 1)
        write_examples((examples * (needed // len(examples) + 1))[:needed], Path(name) / "examples.json")
        settings = settings_of(options, spec, tokenizer)
        trainer = Trainer(settings, str(Path(name) / "examples.json"), options.method, lr=2e-5)
        for step in range(WARMUP):
            trainer.step(step)
        result = operators(trainer, WARMUP)
    for each in result["operators"]:
        say(f"{each['share']:6.1%}  {each['calls']:6d}  {each['operator']}")
    report = {**header("operators", options), "variant": f"{spec.name}-{options.method}", "model": spec.name}
    last = {
        "seconds": round(result["seconds"], 3),
        **{each["operator"]: each["share"] for each in result["operators"][:5]},
    }
    finish({**report, "set": data.name, "result": result}, last, options.json)


if __name__ == "__main__":
    main()
