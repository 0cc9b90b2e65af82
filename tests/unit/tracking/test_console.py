from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from keeptune.core.records import StepRecord, ValidationRecord
from keeptune.models.language_model import LanguageModel
from keeptune.tracking.base import Run
from keeptune.tracking.console import Progress


def run(lm: LanguageModel, terminal: bool) -> str:
    out = io.StringIO()
    bar = Progress(Console(file=out, force_terminal=terminal, width=160), "lora lr 1e-3")
    watched = Run(lm, Path("unused"), "LoRA r=16", 2)
    bar.on_start(watched)
    for step in (1, 2):
        bar.after_step(
            watched,
            StepRecord(step=step, loss=2.5, lr=1e-3, grad_norm=1, tokens=3000, trained_tokens=10, seconds=1.5),
        )
    bar.after_validation(watched, ValidationRecord(step=2, loss=1.25, best=True))
    bar.on_end(watched)
    return out.getvalue()


def test_shows_loss_speed_and_progress(tiny: LanguageModel) -> None:
    text = run(tiny, terminal=True)
    for part in ("lora lr 1e-3", "2/2", "loss 2.500", "validation 1.250 (best)", "2.0k tokens/s", "left"):
        assert part in text


def test_a_file_gets_one_line(tiny: LanguageModel) -> None:
    assert run(tiny, terminal=False) == "lora lr 1e-3: loss 2.500, validation 1.250 (best), 2.0k tokens/s\n"
