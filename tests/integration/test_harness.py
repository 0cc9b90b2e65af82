"""Tasks of lm-eval in commands: as a target, as retained tasks, and by themselves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'keeptune[harness]'")

WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite", "lark")
RECIPE = """
model: builtin
target: {task: harness:choice.yaml, metric: acc, name: learned}
retain:
  - {task: harness:choice.yaml, margin: 4, shots: 1}
  - {task: harness:prose.yaml}
held_out: {task: harness:choice.yaml, name: aside}
arms: [prompt, lora]
prompt: {shots: [0, 2], draws: 2}
lora: {learning_rates: [0.001]}
validation_items: 20
"""


@pytest.fixture
def tasks(tmp_path: Path) -> None:
    """choice.yaml and prose.yaml with their data in the working folder."""
    draw = random.Random(0)
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for number in range(100):
        options = draw.sample(WORDS, 3)
        text = " ".join(draw.choices(WORDS, k=30))
        row = {"question": f"{number} {text[:40]}?", "options": options, "right": draw.randrange(3), "text": text}
        rows["train" if number < 50 else "test"].append(row)
    for part, content in rows.items():
        (tmp_path / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    files = {part: str(tmp_path / f"{part}.jsonl") for part in rows}
    common = {"dataset_path": "json", "dataset_kwargs": {"data_files": files, "cache_dir": str(tmp_path / "cache")}}
    choice = {
        "task": "choice",
        "output_type": "multiple_choice",
        "training_split": "train",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": "options",
        "doc_to_target": "right",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    prose = {
        "task": "prose",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [
            {"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False},
        ],
    }
    for each in (choice, prose):
        path = tmp_path / f"{each['task']}.yaml"
        path.write_text(yaml.safe_dump({**common, "test_split": "test", **each}))


@pytest.mark.slow
def test_a_study_learns_one_and_keeps_others(keeptune: Callable[..., Any], tasks: None, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    ended = keeptune("study", "recipe.yaml")
    assert ended.code == 0, ended.err
    summary = json.loads((tmp_path / "runs/recipe/summary.json").read_text())
    names = [(arm["name"], arm["target"]["n"]) for arm in summary["arms"]]
    assert names == [("prompt-0shot", 40), ("prompt-2shot", 40), ("lora-lr0.001-seed0", 40)]
    assert [(v["suite"], v["metric"]) for v in summary["arms"][2]["suites"]] == [
        ("choice", "acc"),
        ("prose", "bits_per_byte"),
    ]
    assert [(each["task"], each["before"]["n"]) for each in summary["held_out"]] == [("aside", 40)]
    assert summary["cards"][0]["counts"] == {"train": 50, "validation": 10, "test": 40}
    assert "lm_eval" in summary["manifest"]["versions"]
    again = keeptune("study", "recipe.yaml")
    assert again.code == 0 and "skipped" in again.out


def test_one_task_is_scored_by_itself(keeptune: Callable[..., Any], tasks: None, tmp_path: Path) -> None:
    ended = keeptune("evaluate", "--model", "builtin", "--task", "harness:choice.yaml", "--task", "harness:prose.yaml")
    assert ended.code == 0, ended.err
    assert "choice" in ended.out and "bits_per_byte" in ended.out
