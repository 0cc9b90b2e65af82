"""Speed of a training step and of choice scoring: flat batches against the padded reference. See README.md."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from keeptune import __version__
from keeptune.batching.trie import Choices
from keeptune.batching.types import Batch
from keeptune.data.examples import Encoded
from keeptune.inference.score import choice_logprobs
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.memory import peak_bytes, reset_peak
from keeptune.train.objective import Objective
from keeptune.train.optim import MasterAdamW
from keeptune.train.step import micro_batches, train_step

ROWS_PER_STEP = 16
REQUESTS = 16
CHOICES = 4
TOKEN_BUDGET = 4096
WARMUP, WINDOWS = 2, 5
CASES = ("train/full/flat", "train/full/padded", "train/lora/flat", "score/flat", "score/padded")


@dataclass(frozen=True)
class Measurement:
    """One case. Rates are per second: the median of the windows, and their range."""

    case: str
    unit: str
    rate: float
    slowest: float
    fastest: float
    pad_fraction: float | None  # of a training batch
    mfu: float | None
    peak_memory_bytes: int | None


def random_model(dtype: torch.dtype) -> LanguageModel:
    """A Llama of 5M parameters with random weights and a tokenizer that only has to exist."""
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {"<s>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, 2048)}}
    raw = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return LanguageModel.wrap(LlamaForCausalLM(config).to(dtype), tokenizer, name="random-llama-5M")


def draw_rows(n: int, vocabulary: int, rng: np.random.Generator) -> list[Encoded]:
    """Rows with the lengths of short dialogues and their summaries, random ids."""
    prompts = np.clip(rng.lognormal(np.log(110), 0.6, n), 20, 400).astype(int)
    completions = np.clip(rng.lognormal(np.log(20), 0.6, n), 4, 80).astype(int)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(rng.integers(2, vocabulary, length).tolist())

    return [Encoded(str(i), ids(p), ids(c)) for i, (p, c) in enumerate(zip(prompts, completions, strict=True))]


def synchronise(lm: LanguageModel) -> None:
    """Wait for the device."""
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)


def peak_flops(lm: LanguageModel, size: int = 2048, repeats: int = 5) -> float:
    """Floating-point operations per second of a square matrix product in the model's dtype: best of five."""
    a, b = (torch.randn(size, size, device=lm.device, dtype=lm.dtype) for _ in range(2))
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        a @ b
        synchronise(lm)
        times.append(time.perf_counter() - started)
    return 2.0 * size**3 / min(times[1:])


def windows(lm: LanguageModel, work: Callable[[], float], seconds: float) -> list[float]:
    """Units of work per second in each of the windows, after the warm-up."""
    for _ in range(WARMUP):
        work()
    rates = []
    for _ in range(WINDOWS):
        synchronise(lm)
        started, done = time.perf_counter(), 0.0
        while time.perf_counter() - started < seconds:
            done += work()
            synchronise(lm)
        rates.append(done / (time.perf_counter() - started))
    return rates


def pad_fraction(batches: list[Batch], padded: bool) -> float:
    """Share of the computed tokens that are padding."""
    lengths = [batch.segments[:, 1] for batch in batches]
    computed = sum(len(each) * int(each.max()) for each in lengths)
    return 1 - sum(int(each.sum()) for each in lengths) / computed if padded else 0.0


def train_case(lm: LanguageModel, case: str, seconds: float, peak: float) -> Measurement:
    """Tokens per second of whole steps: forward, backward and update."""
    _, name, engine = case.split("/")
    method = (FullConfig() if name == "full" else LoraConfig()).build()
    lm.adapt(method)
    parameters = method.trainable(lm.model)
    optimizer = MasterAdamW(parameters.values())
    flat, lm.flat = lm.flat, engine == "flat"
    lm.model.train()
    rows = draw_rows(ROWS_PER_STEP, len(lm.tokenizer), np.random.default_rng(0))
    batches = micro_batches(rows, TOKEN_BUDGET, padded=not lm.flat)
    reset_peak(lm.device)

    def step() -> float:
        return float(train_step(lm, batches, Objective(), optimizer, lr=1e-4, clip=1.0).tokens)

    rates = windows(lm, step, seconds)
    tokens = sum(batch.tokens for batch in batches)
    padding = pad_fraction(batches, not lm.flat)
    embeddings = lm.model.get_input_embeddings().weight  # type: ignore[operator]
    body = sum(p.numel() for p in lm.model.parameters()) - embeddings.numel()
    head = embeddings.numel() * sum(len(batch.labels) for batch in batches) / tokens
    mfu = (6.0 if name == "full" else 4.0) * (body + head) * statistics.median(rates) / peak
    result = measured(case, "tokens", rates, padding, mfu, peak_bytes(lm.device))
    lm.flat = flat
    lm.restore(method)
    return result


def score_case(lm: LanguageModel, case: str, seconds: float) -> Measurement:
    """Requests of four choices per second; a prompt is computed once (flat) or once for every choice (padded)."""
    flat, lm.flat = lm.flat, case.endswith("flat")
    rng = np.random.default_rng(1)
    rows = draw_rows(REQUESTS, len(lm.tokenizer), rng)
    requests = [
        Choices(row.prompt_ids, [tuple(rng.integers(2, 100, rng.integers(1, 6)).tolist()) for _ in range(CHOICES)])
        for row in rows
    ]
    reset_peak(lm.device)

    def score() -> float:
        return float(len(choice_logprobs(lm, requests)))

    rates = windows(lm, score, seconds)
    lm.flat = flat
    return measured(case, "requests", rates, None, None, peak_bytes(lm.device))


def measured(
    case: str, unit: str, rates: list[float], padding: float | None, mfu: float | None, memory: int | None
) -> Measurement:
    """Round to what the noise leaves."""
    median, slowest, fastest = (round(f(rates), 2) for f in (statistics.median, min, max))
    padding, mfu = (None if share is None else round(share, 3) for share in (padding, mfu))
    return Measurement(case, unit, median, slowest, fastest, padding, mfu, memory)


def main() -> None:
    """Run the cases and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder or hub name; default: random weights")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a window")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    options = parser.parse_args()
    if options.model:
        from keeptune.models.load import load

        lm = load(options.model, precision=options.precision)
    else:
        lm = random_model(torch.float32 if options.precision == "fp32" else torch.bfloat16)
    peak = peak_flops(lm)
    results = [
        train_case(lm, case, options.seconds, peak)
        if case.startswith("train")
        else score_case(lm, case, options.seconds)
        for case in options.cases
    ]
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "keeptune": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "model": lm.name,
        "device": str(lm.device),
        "dtype": str(lm.dtype).removeprefix("torch."),
        "peak_gflops": round(peak / 1e9, 1),
        "results": [asdict(result) for result in results],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
