"""TRL's side of `encode.py`: the preparation of a data set as `SFTTrainer` does it before a training."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import datasets
import torch
from trl import SFTConfig, SFTTrainer

from common.models import ModelSpec
from common.rows import load_tokenizer
from common.workers import Channel


def main() -> None:
    """Answer ``load``, then ``encode`` as often as it is asked; nothing is taken from a cache of TRL's."""
    channel = Channel()
    settings = channel.settings
    datasets.disable_caching()
    datasets.disable_progress_bars()
    tokenizer = load_tokenizer(settings["tokenizer"])
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(prefix="trl-", dir=settings["folder"]),
        use_cpu=True,
        bf16=False,
        dataset_num_proc=settings["processes"],
        completion_only_loss=True,
        max_length=None,
        report_to="none",
        disable_tqdm=True,
    )

    def load() -> dict[str, Any]:
        nonlocal rows, trainer
        started = time.perf_counter()
        rows = datasets.load_dataset(
            "json", data_files=settings["rows"], split="train", cache_dir=tempfile.mkdtemp(dir=settings["folder"])
        )
        seconds = time.perf_counter() - started
        model = ModelSpec("tiny").build(torch.float32, "cpu")
        trainer = SFTTrainer(model=model, args=config, train_dataset=rows.select(range(4)), processing_class=tokenizer)
        return {"seconds": seconds, "rows": len(rows)}

    def encode() -> dict[str, Any]:
        started = time.perf_counter()
        made = trainer._prepare_dataset(rows, tokenizer, config, False, None, "train")
        seconds = time.perf_counter() - started
        looked_at = made[:: max(1, len(made) // 500)]["input_ids"]
        return {
            "seconds": seconds,
            "encoded": len(made),
            "tokens_per_row": round(sum(map(len, looked_at)) / len(looked_at), 1),
        }

    rows: Any = None
    trainer: Any = None
    channel.serve(load=load, encode=encode)


if __name__ == "__main__":
    main()
