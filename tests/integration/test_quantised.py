"""Studies and evaluations of a base in few bits, from the command line to the report's caption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keeptune.models.quantise import PACKAGES


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["nf4", "int8"])
def test_a_study_and_an_evaluation_of_its_adapter(
    keeptune: Callable[..., Any], jsonl: Callable[..., Path], rows: Callable[..., Any], tiny_folder: Path, stored: str
) -> None:
    pytest.importorskip(PACKAGES[stored], exc_type=ImportError)
    data, kept = jsonl(rows(200)), jsonl(rows(120, seed=1), "kept.jsonl")
    settings = [
        *("--set", f"quantise={stored}", "--set", "precision=fp32", "--set", "train.max_steps=4", "--rate", "1e-3"),
        *("--set", "arms=[prompt, lora, lora+kl:0.5+interpolate]", "--out", "run"),
    ]
    ended = keeptune("train", "--model", tiny_folder, "--data", data, "--retain", kept, "--margin", 5, *settings)
    assert ended.code == 0, ended.err
    assert f"scored in fp32 on a base in {stored}" in " ".join(ended.out.split())
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert manifest["config"]["quantise"] == stored and PACKAGES[stored] in manifest["versions"]
    adapter = next(Path("run/arms").glob("lora-*/adapter"))
    asked = ("evaluate", "--model", tiny_folder, "--task", data, "--precision", "fp32", "--limit", 20)
    quantised = keeptune(*asked, "--adapter", adapter, "--quantise", stored)
    assert quantised.code == 0, quantised.err
    assert f"scored in fp32 on a base in {stored}" in " ".join(quantised.out.split())
    assert "on a base in" not in " ".join(keeptune(*asked).out.split())


def test_what_needs_plain_weights_is_refused_before_anything_is_loaded(
    keeptune: Callable[..., Any], jsonl: Callable[..., Path], rows: Callable[..., Any]
) -> None:
    data = jsonl(rows(80))
    ended = keeptune("train", "--model", "no/such/model", "--data", data, "--method", "full", "--set", "quantise=nf4")
    assert ended.code == 2
    assert "'full': full cannot work on a quantised base: it trains the base's own weights" in ended.err
