"""Encoder-decoders through the commands: the same study, data and reports as for decoder-only models."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from keeptune.core.records import Summary, read_json

WORDS = ("red", "blue", "green", "black")
NOUNS = ("house", "garden", "dog", "apple", "hammer", "room", "word", "model")


@pytest.fixture
def study(build: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> dict[str, Any]:
    """A recipe on a toy T5: a target that is generated, one suite of choices and one that is generated."""
    build("t5").save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    draw = random.Random(0)
    target, choices, names = [], [], []
    for number in range(120):
        colour, noun = draw.choice(WORDS), draw.choice(NOUNS)
        target.append({"prompt": f"the {noun} {number} is {colour}. its colour?", "completion": colour})
        choices.append(
            {"instruction": "Say yes or no.", "input": f"{number} {noun}", "output": draw.choice(["yes", "no"])}
        )
        names.append({"prompt": f"say the word {noun} {number}", "completion": noun})
    for name, rows in (("colour", target), ("choices", choices), ("names", names)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": "t5",
        "precision": "fp32",
        "target": {"data": "colour.jsonl", "metric": "exact_match", "max_new_tokens": 4},
        "retain": [
            {"data": "choices.jsonl", "margin": 5},
            {"data": "names.jsonl", "margin": 5, "metric": "rougeL", "max_new_tokens": 4},
        ],
        "arms": ["prompt", "full", "full+replay:20%", "full+kl", "full+ewc", "full+freeze:50%", "lora+interpolate"],
        "prompt": {"shots": [0, 2], "draws": 1},
        "train": {"epochs": 1, "global_batch": 16},
        "full": {"learning_rates": [3e-3]},
        "lora": {"rank": 2, "learning_rates": [1e-2]},
        "validation_items": 20,
        "test_items": 20,
        "seeds": [0],
    }


def written(place: Path, recipe: dict[str, Any], **changes: Any) -> Path:
    place.write_text(yaml.safe_dump({**recipe, **changes}))
    return place


def test_a_study_from_prompting_to_verdict(keeptune: Callable[..., Any], study: dict[str, Any], tmp_path: Path) -> None:
    ended = keeptune("study", written(tmp_path / "recipe.yaml", study), "--out", "runs/t5")
    assert ended.code == 0, ended.err
    summary = read_json(tmp_path / "runs" / "t5" / "summary.json", Summary)
    assert {arm.arm for arm in summary.arms} >= {*study["arms"]} - {"prompt"}
    trained = [arm for arm in summary.arms if arm.suites]
    assert trained and all({suite.suite for suite in arm.suites} == {"choices", "names"} for arm in trained)
    assert (tmp_path / "runs" / "t5" / "report.html").is_file()
    again = keeptune("study", tmp_path / "recipe.yaml", "--out", "runs/t5")
    assert again.code == 0, again.err


def test_a_few_steps_of_bart(
    keeptune: Callable[..., Any], study: dict[str, Any], build: Callable[..., Any], tmp_path: Path
) -> None:
    build("bart").save_pretrained(tmp_path / "t5")  # in place of the T5; the tokenizer stays
    changes = {"arms": ["prompt", "full", "lora"], "train": {"epochs": 1, "max_steps": 5, "global_batch": 8}}
    ended = keeptune("study", written(tmp_path / "recipe.yaml", study, **changes), "--out", "runs/bart")
    assert ended.code == 0, ended.err
    summary = read_json(tmp_path / "runs" / "bart" / "summary.json", Summary)
    assert {arm.family for arm in summary.arms} == {"prompt", "full", "lora"}
    assert all(len(arm.suites) == 2 for arm in summary.arms if arm.family != "prompt")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"retain": [{"text": "prose.txt", "margin": "5%", "block_bytes": 64}]}, "free text has no likelihood"),
        ({"arms": ["full+self-replay"]}, "neither writes nor reads free text"),
        ({"arms": ["full+text-ewc"], "rehearsal": {"text": "prose.txt"}}, "neither writes nor reads free text"),
        ({"arms": ["full+replay"], "retain": "none"}, "nothing for a remedy to draw on"),
        ({"arms": ["prefix-tuning:4"]}, "prefix-tuning is for decoder-only models"),
    ],
)
def test_what_only_other_models_do_is_refused_by_name(
    keeptune: Callable[..., Any], study: dict[str, Any], tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    (tmp_path / "prose.txt").write_text("the red house was green. " * 300)
    ended = keeptune("study", written(tmp_path / "recipe.yaml", study, **changes), "--out", "runs/no")
    assert ended.code == 2 and why in " ".join(ended.err.split())


def test_rows_without_prompts_are_refused(keeptune: Callable[..., Any], study: dict[str, Any], tmp_path: Path) -> None:
    rows = [
        {"segments": [{"label": False, "text": f"{number} is"}, {"label": True, "text": f" a {noun}</s>"}]}
        for number, noun in enumerate(NOUNS * 6)
    ]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = {"data": "texts.jsonl", "metric": "exact_match", "max_new_tokens": 4}
    ended = keeptune("study", written(tmp_path / "recipe.yaml", study, target=target), "--out", "runs/no")
    assert ended.code != 0 and "what the encoder reads" in " ".join(ended.err.split())


def test_the_preview_shows_what_encoder_and_decoder_get(
    keeptune: Callable[..., Any], study: dict[str, Any], tmp_path: Path
) -> None:
    ended = keeptune("data", "preview", "colour.jsonl", "--model", "t5")
    assert ended.code == 0, ended.err
    assert "its colour?" in ended.out


def test_a_tuned_model_is_evaluated_and_compared(
    keeptune: Callable[..., Any], study: dict[str, Any], tmp_path: Path
) -> None:
    ended = keeptune(
        "train", "--model", "t5", "--method", "lora", "--rate", "1e-2", "--data", "colour.jsonl", "--out", "runs/a"
    )
    assert ended.code == 0, ended.err
    judged = keeptune("evaluate", "--model", "t5", "--adapter", "runs/a/tuned", "--task", "names.jsonl")
    assert judged.code == 0, judged.err
    compared = keeptune("compare", "t5", "runs/a/tuned", "--retain", "names.jsonl")
    assert compared.code in (0, 10, 11), compared.err
