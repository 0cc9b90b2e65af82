"""A finished study of a toy model with a chat template: full fine-tuning and LoRA, a few steps each."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import keeptune as kt

sys.path.insert(0, str(Path(__file__).parent))
from exported_models import TEMPLATE


@pytest.fixture(scope="session")
def run(build: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its run folder. Read it, never write to it."""
    place = tmp_path_factory.mktemp("export")
    model = build("llama")
    model.generation_config.top_k = 7
    model.generation_config.do_sample = True
    model.save_pretrained(place / "base")
    tokenizer.save_pretrained(place / "base")
    (place / "base" / "chat_template.jinja").write_text(TEMPLATE)
    draw = random.Random(0)
    colours = [draw.choice(("red", "blue", "green")) for _ in range(90)]
    rows = [
        {"prompt": f"{i} The house is {colour}. Colour:", "completion": f" {colour}"}
        for i, colour in enumerate(colours)
    ]
    study = kt.Study(
        model=place / "base",
        target={"data": rows, "name": "colours"},
        retain={"data": rows[::-1], "name": "kept", "margin": 5},
        arms=["full", "lora"],
        seeds=[0],
        train={"max_steps": 4},
        lora={"rank": 2, "learning_rates": [3e-2]},
        full={"learning_rates": [1e-3]},
        validation_items=20,
        workers=1,
        precision="fp32",
    )
    return study.run(place / "run", quiet=True).folder
