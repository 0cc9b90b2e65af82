"""What this machine can do: matrix products of a model's own sizes, forward and backward, and plain copies.

The other benchmarks state their utilisation against ``ceiling``: the rate of the forward products of one layer in
their precision, weighted by work. See README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.figures import rounded
from common.models import ModelSpec
from common.options import base_parser, model_spec, parse, say
from common.report import finish, header
from common.workers import environment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
QUICK = {"tokens": 1024, "repeats": 3}


def measure(spec: ModelSpec, device: str, tokens: int, repeats: int) -> dict[str, Any]:
    """Rates by precision, in operations per second; and the copy rate in bytes per second."""
    result: dict[str, Any] = {"copy_bytes_per_s": rounded(copy_rate(device, repeats))}
    for name, dtype in DTYPES.items():
        products = [product(*sizes, dtype, device, repeats) for sizes in layer_sizes(spec, tokens)]
        head = product("head", tokens // 4, *head_size(spec), dtype, device, repeats)
        rates = {way: rounded(weighted(products, way)) for way in ("forward", "dgrad", "wgrad")}
        result[name] = {"ceiling": rates["forward"], **rates, "products": [*products, head]}
    return result


def layer_sizes(spec: ModelSpec, tokens: int) -> list[tuple[str, int, int, int]]:
    """(name, T, K, N) of a layer's products: T tokens, from K to N features."""
    config = spec.config().get_text_config()
    width, heads, inner = config.hidden_size, config.num_attention_heads, config.intermediate_size
    size = getattr(config, "head_dim", None) or width // heads
    shared = size * config.num_key_value_heads
    return [
        ("query", tokens, width, size * heads),
        ("key", tokens, width, shared),
        ("value", tokens, width, shared),
        ("output", tokens, size * heads, width),
        ("gate", tokens, width, inner),
        ("up", tokens, width, inner),
        ("down", tokens, inner, width),
    ]


def head_size(spec: ModelSpec) -> tuple[int, int]:
    """(K, N) of the output layer."""
    config = spec.config().get_text_config()
    return config.hidden_size, config.vocab_size


def product(
    name: str, tokens: int, inputs: int, outputs: int, dtype: torch.dtype, device: str, repeats: int
) -> dict[str, Any]:
    """Rates of the three products that a linear layer needs in training."""
    x = torch.randn(tokens, inputs, device=device).to(dtype)
    weight = torch.randn(outputs, inputs, device=device).to(dtype)
    gradient = torch.randn(tokens, outputs, device=device).to(dtype)
    work: dict[str, Callable[[], Tensor]] = {
        "forward": lambda: x @ weight.t(),
        "dgrad": lambda: gradient @ weight,
        "wgrad": lambda: gradient.t() @ x,
    }
    flops = 2.0 * tokens * inputs * outputs
    rates = {way: rounded(flops / median_seconds(f, device, repeats)) for way, f in work.items()}
    return {"name": name, "T": tokens, "K": inputs, "N": outputs, **rates}


def weighted(products: list[dict[str, Any]], way: str) -> float:
    """All work over all time."""
    work = [p["T"] * p["K"] * p["N"] for p in products]
    return sum(work) / float(sum(w / p[way] for w, p in zip(work, products, strict=True)))


def copy_rate(device: str, repeats: int) -> float:
    """Bytes read plus written per second, by copies that no cache holds."""
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), device, repeats)


def median_seconds(work: Callable[[], Tensor], device: str, repeats: int) -> float:
    """Of ``repeats`` calls, after two that warm up."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def ceilings(options: argparse.Namespace) -> dict[str, Any]:
    """`measure` in a process of its own with the environment of a worker; for the other benchmarks."""
    command = [sys.executable, str(Path(__file__)), "--shape", options.shape, "--device", options.device, "--quick"]
    command += ["--model", options.model] if options.model else []
    done = subprocess.run(command, capture_output=True, text=True, env=environment(options.threads), check=False)
    if done.returncode:
        raise RuntimeError(f"ceiling.py failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, print a line per product, close with JSON."""
    parser = base_parser(__doc__)
    parser.add_argument("--tokens", type=int, default=2048, help="rows of the products (the head: a quarter)")
    parser.add_argument("--repeats", type=int, default=7)
    options = parse(parser, QUICK)
    torch.set_num_threads(options.threads)
    result = measure(model_spec(options), options.device, options.tokens, options.repeats)
    for name in DTYPES:
        for each in result[name]["products"]:
            rates = "  ".join(f"{way} {each[way] / 1e9:9,.0f}" for way in ("forward", "dgrad", "wgrad"))
            say(f"{name}  {each['name']:<7} {each['T']} x {each['K']} x {each['N']}: {rates} Gflop/s")
    last = {name: result[name]["ceiling"] for name in DTYPES} | {"copy_bytes_per_s": result["copy_bytes_per_s"]}
    finish({**header("ceiling", options), "model": model_spec(options).name, "result": result}, last, options.json)


if __name__ == "__main__":
    main()
