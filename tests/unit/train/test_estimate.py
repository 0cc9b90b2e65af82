"""What a training will need, measured on one of its steps."""

from __future__ import annotations

from collections.abc import Callable

import torch

from keeptune.data.examples import Encoded
from keeptune.methods.config import FullConfig, LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.train.estimate import probe

Rows = Callable[..., list[Encoded]]


def test_the_model_is_the_base_afterwards(tiny: LanguageModel, random_rows: Rows) -> None:
    before, threads = hash_parameters(tiny.model), torch.get_num_threads()
    steps = [random_rows(8), random_rows(4, seed=1)]
    for method in (FullConfig().build(), LoraConfig(rank=2).build()):
        needs = probe(tiny, method, steps, "flat", threads=1)
        assert needs.seconds_per_token > 0
        assert needs.memory_bytes is None or needs.memory_bytes > 0
    assert hash_parameters(tiny.model) == before
    assert tiny.hash is not None
    assert torch.get_num_threads() == threads


def test_full_fine_tuning_needs_more_than_lora(tiny: LanguageModel, random_rows: Rows) -> None:
    full, lora = (probe(tiny, m, [random_rows(8)], "flat") for m in (FullConfig().build(), LoraConfig(rank=2).build()))
    assert full.seconds_per_step > lora.seconds_per_step
