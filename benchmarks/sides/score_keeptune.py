"""keeptune's side of `score.py`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from common.memory import peak_bytes, reset_peak
from common.models import ModelSpec
from common.rows import load_tokenizer
from common.workers import Channel
from keeptune.batching.trie import ScoringRequest
from keeptune.inference.score import choice_logprobs
from keeptune.models.language_model import LanguageModel

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main() -> None:
    """Answer ``score``: seconds and log-probabilities of the first items of a kind."""
    channel = Channel()
    settings = channel.settings
    model = ModelSpec(**settings["model"]).build(DTYPES[settings["precision"]], settings["device"])
    lm = LanguageModel.wrap(model, load_tokenizer(settings["tokenizer"]), weights_hash="benchmark")
    items = json.loads(Path(settings["items"]).read_text())
    requests = {
        kind: [ScoringRequest(prompt, choices) for prompt, choices in of_kind] for kind, of_kind in items.items()
    }

    def score(kind: str, first: int, **peers: Any) -> dict[str, Any]:
        reset_peak(settings["device"])
        started = time.perf_counter()
        logprobs = choice_logprobs(lm, requests[kind][:first])
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "logprobs": logprobs, "peak_memory_bytes": peak_bytes(settings["device"])}

    channel.serve(score=score)


if __name__ == "__main__":
    main()
