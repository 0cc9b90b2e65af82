"""What everything that runs a model over many requests has in common: its default budget, and how it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

# Tokens of a batch; larger ones leave a CPU's caches and are slower.
TOKEN_BUDGET: Mapping[str, int] = {"cpu": 4096, "cuda": 32_768}

Progress = Callable[[int, int], None]
"""Called with (done, in all) after every batch: prompts where text is generated, else choices or texts."""


def default_budget(device: torch.device) -> int:
    """Tokens of a batch on ``device``."""
    return TOKEN_BUDGET["cuda" if device.type == "cuda" else "cpu"]
