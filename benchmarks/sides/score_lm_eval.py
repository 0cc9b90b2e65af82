"""lm-eval's side of `score.py`: the Hugging Face backend on token ids, so that its tokenising costs it nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from common.memory import peak_bytes, reset_peak
from common.models import ModelSpec
from common.rows import load_tokenizer
from common.workers import Channel

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main() -> None:
    """Answer ``score``: seconds and log-probabilities of the first items of a kind, at a batch size."""
    channel = Channel()
    settings = channel.settings
    model = ModelSpec(**settings["model"]).build(DTYPES[settings["precision"]], settings["device"]).eval()
    backend = HFLM(pretrained=model, tokenizer=load_tokenizer(settings["tokenizer"]), max_length=8192)
    items = json.loads(Path(settings["items"]).read_text())

    def score(kind: str, first: int, batch: int, exact: bool = False) -> dict[str, Any]:
        chosen = items[kind][:first]
        requests = [(None, prompt, choice) for prompt, choices in chosen for choice in choices]
        backend.batch_size_per_gpu = batch
        backend.softmax_dtype = torch.float32 if exact else None  # by default log-probabilities are rounded to bf16
        reset_peak(settings["device"])
        started = time.perf_counter()
        with torch.no_grad():
            answers = iter(backend._loglikelihood_tokens(requests, disable_tqdm=True))
        seconds = time.perf_counter() - started
        logprobs = [[next(answers)[0] for _ in choices] for _, choices in chosen]
        return {"seconds": seconds, "logprobs": logprobs, "peak_memory_bytes": peak_bytes(settings["device"])}

    channel.serve(score=score)


if __name__ == "__main__":
    main()
