"""Training steps: keeptune against TRL at the fastest of its settings, on the same rows. See README.md."""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ceiling import ceilings
from common.figures import ratios, rounded, spread
from common.models import ModelSpec, Work
from common.options import base_parser, model_spec, parse, say
from common.report import finish, header, versions
from common.rows import (
    PROSE,
    Example,
    encode,
    load_tokenizer,
    prepare_tokenizer,
    read_set,
    sharing,
    write_examples,
)
from common.trl_setting import TrlSetting
from common.workers import Worker

Step = dict[str, Any]  # what a worker answers: seconds, loss, examples, supervised, tokens, peak_memory_bytes
QUICK = {"shape": "smollm2-10", "steps": 3, "pick_steps": 1, "within": 480, "peers": ["bfd:8", "padded:8"]}
RATES = {"full": 2e-5, "lora": 1e-4}


@dataclass(frozen=True)
class TrainingSet:
    """The examples of one set in the order in which both sides see them."""

    name: str
    examples: list[Example]
    path: Path
    left_out: int  # longer than the longest that is allowed
    batch: int

    def facts(self) -> dict[str, Any]:
        """What a reader needs to know of it."""
        tokens = sum(len(p) + len(c) for p, c in self.examples)
        steps = [self.examples[i : i + self.batch] for i in range(0, min(len(self.examples), 640), self.batch)]
        return {
            "set": self.name,
            "examples": len(self.examples),
            "left_out": self.left_out,
            "mean_tokens": rounded(tokens / len(self.examples)),
            "supervised_share": rounded(sum(len(c) for _, c in self.examples) / tokens),
            "sharing": rounded(statistics.mean(map(sharing, steps))),
        }

    def flops_per_token(self, work: Work, method: str) -> float:
        """Useful operations per real token, without sharing."""
        lengths = [len(p) + len(c) for p, c in self.examples]
        return work.flops(lengths, sum(len(c) for _, c in self.examples), method) / sum(lengths)


def prepare(options: argparse.Namespace, folder: Path) -> tuple[list[TrainingSet], Path]:
    """Read, tokenise and store all sets; returns them and the tokenizer's folder."""
    raw = [read_set(source, options.seed) for source in options.data]
    place = prepare_tokenizer(raw, options.tokenizer, folder / "tokenizer")
    tokenizer = load_tokenizer(place)
    sets = []
    for number, each in enumerate(raw):
        everything = encode(each.rows, tokenizer)
        examples = encode(each.rows, tokenizer, options.max_length)
        left_out = len(everything) - len(examples)
        needed = options.batch * (options.warmup + max(options.steps, options.pick_steps) + 1)
        examples *= math.ceil(needed / len(examples))  # small sets go round
        path = folder / f"{number}.json"
        write_examples(examples, path)
        sets.append(TrainingSet(each.name, examples, path, left_out, options.batch))
    return sets, place


@dataclass(frozen=True)
class Context:
    """What utilisation needs."""

    work: Work
    rates: dict[str, float]  # operations per second, by precision

    def ceiling(self, precision: str) -> float:
        """Of the matrix products in a precision; those of autocast are bf16's."""
        return self.rates["fp32" if precision == "fp32" else "bf16"]


class Sides:
    """Starts workers with the settings that they share."""

    def __init__(self, options: argparse.Namespace, spec: ModelSpec, tokenizer: Path, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.until = time.monotonic() + options.within if options.within else math.inf
        self.shared = {
            "model": asdict(spec),
            "tokenizer": str(tokenizer),
            "device": options.device,
            "batch": options.batch,
            "max_length": options.max_length,
            "token_budget": options.token_budget,
            "precision": options.precision,
        }

    def keeptune(self) -> Worker:
        """Our side."""
        return self._worker("train_keeptune")

    def trl(self, setting: str) -> Worker:
        """The peer in one setting."""
        return self._worker("train_trl", setting=setting)

    def _worker(self, module: str, **more: Any) -> Worker:
        return Worker(module, {**self.shared, **more}, self.options.threads, self.folder / f"{module}.log")


def run_in_turn(
    workers: Sequence[Worker], data: TrainingSet, method: str, warmup: int, steps: int, until: float = math.inf
) -> list[list[Step]]:
    """All steps of one set from fresh models, the workers by turns; warm-up included.

    After ``until`` (a `time.monotonic`) no step begins but the first timed one.
    """
    total = warmup + steps
    for worker in workers:
        worker.ask("load", examples=str(data.path), steps=total, method=method, lr=RATES[method])
    results: list[list[Step]] = [[] for _ in workers]
    for number in range(total):
        if number > warmup and time.monotonic() > until:
            break
        for worker, done in zip(workers, results, strict=True):
            done.append(worker.ask("step", number=number))
    for worker in workers:
        worker.ask("stop")
    return results


def supervised_rate(steps: Sequence[Step], warmup: int) -> float:
    """Median trained tokens per second."""
    return float(statistics.median(step["supervised"] / step["seconds"] for step in steps[warmup:]))


@dataclass
class Subset:
    """What one method's run through TRL's settings found."""

    reached: dict[str, dict[str, Any]] = field(default_factory=dict)  # by setting: rates by set and memory, or failure
    padded: dict[str, list[Step]] = field(default_factory=dict)  # by set: steps whose losses can be compared

    def fastest(self) -> str:
        """By the geometric mean of rates over the sets."""
        worked = {s: list(r["supervised_per_s"].values()) for s, r in self.reached.items() if "failed" not in r}
        if not worked:
            raise SystemExit("no setting of TRL ran; see above")
        return max(worked, key=lambda setting: statistics.geometric_mean(worked[setting]))

    def add(self, setting: str, runs: dict[str, list[Step]], warmup: int) -> None:
        """Note what a setting reached on every set."""
        rates = {name: rounded(supervised_rate(steps, warmup)) for name, steps in runs.items()}
        memory = max(step["peak_memory_bytes"] or 0 for steps in runs.values() for step in steps)
        self.reached[setting] = {"supervised_per_s": rates, "peak_memory_bytes": memory}
        if TrlSetting.parse(setting).keeps_order and not self.padded:
            self.padded = runs


def pick(sides: Sides, methods: Sequence[str], sets: Sequence[TrainingSet]) -> dict[str, Subset]:
    """Run every setting, each in a process of its own. One that fails (no memory, not supported) is noted and out."""
    options = sides.options
    found = {method: Subset() for method in methods}
    for setting in options.peers:
        worker = None
        for method, picked in found.items():
            worker = worker or sides.trl(setting)
            try:
                steps = options.warmup, options.pick_steps
                runs = {each.name: run_in_turn([worker], each, method, *steps)[0] for each in sets}
                picked.add(setting, runs, options.warmup)
            except RuntimeError as error:
                worker.close(kill=True)
                worker = None
                picked.reached[setting] = {"failed": str(error).strip().splitlines()[-1]}
            say(f"{method}: TRL {setting}: {picked.reached[setting]}")
        if worker is not None:
            worker.close()
    return found


def side_figures(steps: Sequence[Step], flops_per_token: float, ceiling: float) -> dict[str, Any]:
    """Rates of one side over its timed steps."""
    rates = {key: [s[key] / s["seconds"] for s in steps] for key in ("supervised", "examples", "tokens")}
    return {
        **{f"{key}_per_s": spread(values) for key, values in rates.items()},
        "seconds_per_step": spread([s["seconds"] for s in steps]),
        "peak_memory_bytes": max((s["peak_memory_bytes"] or 0 for s in steps), default=0) or None,
        "utilisation": rounded(statistics.median(rates["tokens"]) * flops_per_token / ceiling, 3),
    }


def compare_losses(ours: Sequence[Step], theirs: Sequence[Step]) -> dict[str, Any]:
    """Losses of the same steps, from the same weights."""
    pairs = [(a["loss"], b["loss"]) for a, b in zip(ours, theirs, strict=False)]
    return {
        "ours": [rounded(a, 6) for a, _ in pairs],
        "peer": [rounded(b, 6) for _, b in pairs],
        "largest_difference": rounded(max(abs(a / b - 1) for a, b in pairs), 3),
    }


def compare(
    sides: Sides, ours: Worker, method: str, sets: Sequence[TrainingSet], picked: Subset, context: Context
) -> list[dict[str, Any]]:
    """Both sides on every set."""
    options, setting = sides.options, picked.fastest()
    how = TrlSetting.parse(setting)
    results = []
    with sides.trl(setting) as theirs:
        for data in sets:
            ours_all, theirs_all = run_in_turn([ours, theirs], data, method, options.warmup, options.steps, sides.until)
            same = theirs_all if how.keeps_order else picked.padded.get(data.name)
            a, b = ours_all[options.warmup :], theirs_all[options.warmup :]
            flops = data.flops_per_token(context.work, method)
            result = {
                **data.facts(),
                "keeptune": side_figures(a, flops, context.ceiling(options.precision)),
                "peer": side_figures(b, flops, context.ceiling(how.precision)),
                "ratio": ratios(*([s["supervised"] / s["seconds"] for s in side] for side in (a, b))),
                "ratio_by_example": ratios(*([s["examples"] / s["seconds"] for s in side] for side in (a, b))),
                "loss": compare_losses(ours_all, same) if same else None,
            }
            results.append(result)
            say(line(method, result))
    return results


def only_keeptune(
    sides: Sides, ours: Worker, method: str, sets: Sequence[TrainingSet], context: Context
) -> list[dict[str, Any]]:
    """Our side alone, for work on it."""
    options, results = sides.options, []
    for data in sets:
        steps = run_in_turn([ours], data, method, options.warmup, options.steps)[0]
        flops = data.flops_per_token(context.work, method)
        figures = side_figures(steps[options.warmup :], flops, context.ceiling(options.precision))
        results.append({**data.facts(), "keeptune": figures, "losses": [step["loss"] for step in steps]})
        say(f"{method} {data.name}: {figures}")
    return results


def line(method: str, result: dict[str, Any]) -> str:
    """A set in one line."""
    ours, peer, loss = result["keeptune"], result["peer"], result["loss"]
    memory = [f"{(side['peak_memory_bytes'] or 0) / 1e9:.1f} GB" for side in (ours, peer)]
    return (
        f"{method} {result['set']}: {result['ratio']['median']:.2f}x"
        f" ({result['ratio']['low']:.2f} to {result['ratio']['high']:.2f}),"
        f" {ours['supervised_per_s']['median']} against {peer['supervised_per_s']['median']} trained tokens/s,"
        f" utilisation {ours['utilisation']:.0%} against {peer['utilisation']:.0%}, {memory[0]} against {memory[1]},"
        f" sharing {result['sharing']:.2f}, losses differ by at most "
        + (f"{loss['largest_difference']:.2%}" if loss else "(not comparable)")
    )


def summary(results: Sequence[dict[str, Any]], setting: str) -> dict[str, Any]:
    """One method: the median ratio over the sets, and the mean losses of comparable steps."""
    losses = [result["loss"] for result in results if result["loss"]]
    ours = [loss for each in losses for loss in each["ours"]]
    theirs = [loss for each in losses for loss in each["peer"]]
    return {
        "ratio": rounded(statistics.median(r["ratio"]["median"] for r in results)),
        "loss": rounded(statistics.mean(ours), 6) if ours else None,
        "peer_loss": rounded(statistics.mean(theirs), 6) if theirs else None,
        "peer": f"TRL {versions().get('trl')} {setting}",
    }


def default_peers(batch: int, amx_or_gpu: bool) -> list[str]:
    """Settings that may be the fastest. Without fast bf16 products TRL may be faster in fp32."""
    if batch <= 8:
        fast = ["padded:8", "bfd:8", "padding_free:8", "padded:8:checkpointed"]
        return fast if amx_or_gpu else [*fast, "padded:8:fp32", "bfd:8:fp32"]
    return ["padded:16", "bfd:8", "bfd:16", "padding_free:8" if amx_or_gpu else "bfd:8:fp32"]


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, with what depends on the machine filled in."""
    import torch

    from keeptune.models.precision import pick_dtype

    parser = base_parser(__doc__)
    parser.set_defaults(shape="smollm2-135m")
    parser.add_argument("--data", nargs="+", default=[PROSE], help="FILE.jsonl[:PART] ..., or built-in prose")
    parser.add_argument(
        "--pick", nargs="+", help="sets by name on which TRL's setting is chosen; default: the first two"
    )
    parser.add_argument("--peers", nargs="+", help="settings of TRL to choose from, as bfd:8, padded:16:checkpointed")
    parser.add_argument("--batch", type=int, default=8, help="examples per optimiser step")
    parser.add_argument("--method", nargs="+", default=["full", "lora"], choices=("full", "lora"))
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"), help="of keeptune")
    parser.add_argument("--warmup", type=int, default=1, help="steps that are dropped")
    parser.add_argument("--steps", type=int, default=3, help="steps that are timed")
    parser.add_argument("--pick-steps", type=int, default=1, help="steps that are timed to choose TRL's setting")
    parser.add_argument("--within", type=float, help="seconds after which each set gets only one timed step more")
    parser.add_argument("--max-length", type=int, default=512, help="longer examples are left out; packing's bins")
    parser.add_argument("--token-budget", type=int, default=4096, help="tokens of a micro-batch of keeptune's")
    parser.add_argument("--without-peer", action="store_true", help="only keeptune's own rates")
    options = parse(parser, QUICK, arguments)
    if options.precision == "auto":
        dtype = pick_dtype("auto", torch.device(options.device))
        options.precision = {torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
    if options.peers is None:
        fast = options.device != "cpu" or torch.cpu._is_amx_tile_supported()
        options.peers = default_peers(options.batch, fast)
    return options


def main() -> None:
    """Choose TRL's setting, compare, report."""
    options = options_of()
    spec = model_spec(options)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        sets, tokenizer = prepare(options, folder)
        chosen = [s for s in sets if s.name in options.pick] if options.pick else sets[:2]
        if not chosen:
            raise SystemExit(f"--pick names none of {', '.join(s.name for s in sets)}")
        ceiling = ceilings(options)
        say(f"ceiling: {ceiling}")
        context = Context(Work.of(spec), ceiling)
        sides = Sides(options, spec, tokenizer, folder)
        methods: dict[str, dict[str, Any]] = {}
        last: dict[str, Any] = {}
        picked = {} if options.without_peer else pick(sides, options.method, chosen)
        with sides.keeptune() as ours:
            for method in options.method:
                if options.without_peer:
                    methods[method] = {"sets": only_keeptune(sides, ours, method, sets, context)}
                    last[method] = None
                    continue
                setting = picked[method].fastest()
                results = compare(sides, ours, method, sets, picked[method], context)
                methods[method] = {"peer": setting, "picked_from": picked[method].reached, "sets": results}
                last[method] = summary(results, setting)
    report = {**header("train", options), "variant": f"{spec.name}-{options.batch}", "model": spec.name}
    finish({**report, "ceiling": ceiling, "methods": methods}, last, options.json)


if __name__ == "__main__":
    main()
