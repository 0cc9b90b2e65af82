"""transformers' side of `generate.py`: batches in the order of the rows, padded on the left."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from common.memory import peak_bytes, reset_peak
from common.models import ModelSpec
from common.rows import load_tokenizer
from common.workers import Channel

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class OwnLength(StoppingCriteria):  # type: ignore[misc]
    """Ends every row at its own number of new tokens."""

    def __init__(self, limits: Sequence[int], prompt_length: int, device: str) -> None:
        self.ends = torch.tensor(limits, device=device) + prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **unused: Any) -> Tensor:
        """[B] bool, true where the row is done."""
        return input_ids.shape[1] >= self.ends


def until(ids: list[int], end: int) -> list[int]:
    """The ids in front of the end token."""
    return ids[: ids.index(end)] if end in ids else ids


def main() -> None:
    """Answer ``generate`` at a batch size; and ``gap``: how far the two best logits lie apart after given tokens."""
    channel = Channel()
    settings = channel.settings
    device = settings["device"]
    tokenizer = load_tokenizer(settings["tokenizer"])
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model: Any = ModelSpec(**settings["model"]).build(DTYPES[settings["precision"]], device).eval()
    items = json.loads(Path(settings["items"]).read_text())

    def batch_outputs(rows: list[tuple[list[int], int]]) -> list[list[int]]:
        longest = max(len(prompt) for prompt, _ in rows)
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt, _ in rows])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _ in rows])
        limits = [limit for _, limit in rows]
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max(limits),
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([OwnLength(limits, longest, device)]),
            pad_token_id=pad,
            eos_token_id=end,
        )
        new = output[:, longest:].tolist()
        return [until(row[:limit], end) for row, limit in zip(new, limits, strict=True)]

    def run(first: int, batch: int) -> dict[str, Any]:
        reset_peak(device)
        started = time.perf_counter()
        outputs = [ids for at in range(0, first, batch) for ids in batch_outputs(items[at : min(at + batch, first)])]
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "outputs": outputs, "peak_memory_bytes": peak_bytes(device)}

    @torch.no_grad()
    def gap(row: int, after: list[int]) -> dict[str, Any]:
        logits = model(torch.tensor([items[row][0] + after], device=device)).logits[0, -1].float()
        best = logits.topk(2).values.tolist()
        return {"gap": best[0] - best[1]}

    channel.serve(generate=run, gap=gap)


if __name__ == "__main__":
    main()
