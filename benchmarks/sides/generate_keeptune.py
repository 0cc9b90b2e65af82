"""keeptune's side of `generate.py`."""

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
from keeptune.inference.generate import generate
from keeptune.models.language_model import LanguageModel

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def main() -> None:
    """Answer ``generate``: seconds and new tokens of the first prompts, each up to its own length."""
    channel = Channel()
    settings = channel.settings
    model = ModelSpec(**settings["model"]).build(DTYPES[settings["precision"]], settings["device"])
    lm = LanguageModel.wrap(model, load_tokenizer(settings["tokenizer"]), weights_hash="benchmark")
    items = json.loads(Path(settings["items"]).read_text())
    prompts, limits = [prompt for prompt, _ in items], [limit for _, limit in items]

    def run(first: int, **peers: Any) -> dict[str, Any]:
        reset_peak(settings["device"])
        started = time.perf_counter()
        texts = generate(lm, prompts[:first], max(limits[:first]), limits=limits[:first])
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "outputs": texts, "peak_memory_bytes": peak_bytes(settings["device"])}

    channel.serve(generate=run)


if __name__ == "__main__":
    main()
