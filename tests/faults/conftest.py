"""How much is broken: a little in `make test`, a lot in `make faults`. And small studies to break."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = ("red", "blue", "green", "black", "white", "brown")


@pytest.fixture(scope="session")
def long_form() -> bool:
    return os.environ.get("KEEPTUNE_FAULTS") == "long"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rows of two tasks."""
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)
    for name in ("colour", "kept"):
        rows = [
            {"instruction": f"Name the {name}.", "input": f"house {number} is {word}", "output": word}
            for number, word in enumerate(draw.choices(WORDS, k=160))
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def recipe(tiny_folder: Path) -> Callable[..., dict[str, Any]]:
    """A recipe of the toy model, with these fields changed."""

    def values(**changes: Any) -> dict[str, Any]:
        return {
            "model": str(tiny_folder),
            "precision": "fp32",
            "target": {"data": "colour.jsonl", "metric": "exact_match", "max_new_tokens": 4},
            "retain": [{"data": "kept.jsonl", "margin": 5, "metric": "exact_match", "max_new_tokens": 4}],
            "arms": ["prompt", "full", "lora+replay:20%", "full+interpolate"],
            "prompt": {"shots": [0]},
            "train": {"epochs": 2, "global_batch": 3, "checkpoint_every": 5, "validations_per_epoch": 2},
            "full": {"learning_rates": [1e-4, 3e-3]},
            "lora": {"rank": 2, "learning_rates": [1e-3]},
            "validation_items": 20,
            "test_items": 20,
            "workers": 2,
            "seeds": [0, 1],
            **changes,
        }

    return values
