"""`keeptune plan` on the machine at hand: the probe of memory in a process of its own, that of time in this one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.records import ForecastRecord

RECIPE = {
    "precision": "fp32",
    "device": "cpu",
    "target": [{"data": "rows.jsonl", "name": "colours"}, {"data": "other.jsonl", "name": "others"}],
    "retain": "none",
    "arms": ["prompt", "lora"],
    "sequence": {"arms": ["lora"]},
    "lora": {"rank": 2, "learning_rates": [1e-3, 1e-2]},
    "train": {"epochs": 1, "global_batch": 8},
    "test_items": 20,
    "validation_items": 20,
}


@pytest.mark.slow
def test_a_recipe_is_planned_for_this_machine(
    keeptune: Callable[..., Any],
    jsonl: Callable[..., Path],
    rows: Callable[..., Any],
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jsonl(rows(80))
    jsonl(rows(80, seed=1), "other.jsonl")
    Path("recipe.yaml").write_text(json.dumps({**RECIPE, "model": str(tiny_folder)}))
    monkeypatch.setenv("COLUMNS", "80")
    ended = keeptune("plan", "recipe.yaml", "--out", "plan.json")
    assert (ended.code, ended.err) == (0, "")
    assert "lora, cheapest that fits: one process; " in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80 or str(tiny_folder) in ended.out.splitlines()[0]
    record = ForecastRecord.model_validate_json(Path("plan.json").read_text())
    assert not record.notes and record.device == "cpu" and "measured on this machine" in record.rates
    alone, again, in_turn, _ = sorted(record.forecasts, key=lambda each: (len(each.arm), each.layout))
    assert (alone.arm, alone.layout, alone.trainings) == ("lora", "one process", 2)
    assert (in_turn.arm, in_turn.trainings) == ("lora, in turn", 4)  # two rates for each of two tasks
    assert 0 < alone.seconds < again.seconds and again.layout.endswith("checkpointing")
    assert alone.memory.overhead > 10**8 and alone.fits and alone.cost is None
    assert not Path("runs").exists()
