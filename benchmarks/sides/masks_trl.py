"""TRL's side of `masks.py`: token ids and labels as its trainer prepares them and its collator hands them out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import trl
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from pyarrow import ArrowException
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import set_verbosity_error
from trl import SFTConfig, SFTTrainer

BATCH = 7  # rows that are padded together, so that most of them are padded


def template(name: str) -> str:
    """A chat template of the folder that TRL brings."""
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def prepared(
    rows: Sequence[Mapping[str, Any]], tokenizer: Any, settings: Mapping[str, Any], mixed: str | None = None
) -> dict[int, tuple[list[int], list[int]]] | str:
    """Number of the row -> its ids and labels out of the collator, padding taken off; or who refuses them, and why.

    Args:
        rows: as `Dataset.from_list` takes them.
        tokenizer: of the tiny random model that is made here; copied, because TRL sets its padding.
        settings: of `SFTConfig`, beside TRL's defaults.
        mixed: what `Dataset.from_list` does with columns of several types.
    """
    disable_progress_bar()
    set_verbosity_error()
    tokenizer = deepcopy(tokenizer)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=tokenizer.bos_token_id,
        )
    )
    numbered = [{**row, "row": number} for number, row in enumerate(rows)]
    try:
        data = Dataset.from_list(numbered, on_mixed_types=mixed)
    except ArrowException as error:
        return f"datasets refuses: {error}"
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(output_dir=folder, use_cpu=True, bf16=False, report_to="none", **settings)
        try:
            trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
        except (ValueError, RuntimeError) as error:
            return f"TRL refuses: {error}"
    made = list(trainer.train_dataset)
    found = {}
    for start in range(0, len(made), BATCH):
        batch = made[start : start + BATCH]
        padded = trainer.data_collator([{key: row[key] for key in ("input_ids", "labels")} for row in batch])
        for place, row in enumerate(batch):
            real = padded["attention_mask"][place].bool()
            if (padded["labels"][place][~real] != -100).any():
                raise AssertionError("TRL trains padding")
            found[row["row"]] = tuple(padded[key][place][real].tolist() for key in ("input_ids", "labels"))
    return found
