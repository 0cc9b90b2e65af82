"""`make bench` stays runnable: every benchmark on the smallest shape, with its peer where that is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ["--shape", "tiny", "--threads", "1"]


def run(name: str, *arguments: str) -> dict[str, Any]:
    """A benchmark's last line."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *TINY, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def without(peer: str) -> list[str]:
    """The option that leaves a peer out where it is not installed."""
    return [] if importlib.util.find_spec(peer) else ["--without-peer"]


@pytest.mark.slow
def test_study(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    alone = without("trl") or without("lm_eval")
    retain = "retain=[{task: builtin:opposites, margin: 3}, {task: builtin:prose, margin: 1%}]"
    rates = ("full.learning_rates=[1e-3]", "lora.learning_rates=[3e-3]")
    sets = (retain, *rates, "train.max_steps=4", "validation_items=20", "test_items=20")
    small = [word for override in sets for word in ("--set", override)]
    last = run("study", "--quick", "--question", "demo", *small, "--json", str(out), *alone)
    assert last.keys() == {"demo", "peer"}
    found = json.loads(out.read_text())["questions"]["demo"]
    ours = found["keeptune"][0]
    assert ours["total"] >= ours["start"] > 0
    assert ours["steps"] == 8
    if not alone:
        theirs = found["stitched"][0]
        assert theirs["trained_tokens"] == ours["trained_tokens"]
        assert theirs["items"] == ours["items"]
        assert last["demo"]["same_rates"] == 2  # there is one rate of each
        assert found["base_items_agree"]["prose"] == 1.0
        assert found["base_items_agree"]["opposites"] >= 0.9


@pytest.mark.slow
def test_train(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    alone = without("trl")
    last = run("train", "--steps", "2", "--batch", "4", "--peers", "padded:4", "--json", str(out), *alone)
    assert last.keys() == {"full", "lora"}
    for method in json.loads(out.read_text())["methods"].values():
        ours = method["sets"][0]["keeptune"]
        assert 0 < ours["supervised_per_s"]["low"] <= ours["supervised_per_s"]["high"]
        assert ours["utilisation"] > 0
    if not alone:
        assert last["full"]["loss"] == pytest.approx(last["full"]["peer_loss"], rel=0.02)


@pytest.mark.slow
def test_score() -> None:
    small = ["--items", "6", "--shots", "1", "--precision", "fp32", "--batches", "4", "--pick-items", "2"]
    last = run("score", *small, *without("lm_eval"))
    assert last.keys() == {"ratio", "agreement", "peer"}
    assert last["agreement"] in (None, 1.0)


@pytest.mark.slow
def test_generate() -> None:
    small = ["--items", "6", "--precision", "fp32", "--batches", "4", "--pick-items", "4", "--rounds", "1"]
    last = run("generate", *small)
    assert last["ratio"] > 0
    assert last["agreement"] == 1.0


@pytest.mark.slow
def test_planning() -> None:
    assert run("planning", "--rows", "100", "200", "--steps", "2").keys() == {"100", "200"}


@pytest.mark.slow
def test_operators() -> None:
    last = run("operators", "--batch", "4")
    assert last.pop("seconds") > 0
    assert 0 < sum(last.values()) <= 1


@pytest.mark.slow
def test_curve() -> None:
    sizes = ["--lr", "1e-3", "--steps", "2", "--global-batch", "2", "--validation-rows", "2"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "curve.py"), *sizes], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    exact, rounded = report["engine"]
    assert exact["max_difference"] <= 1e-4
    assert abs(exact["validation_difference"]) <= 1e-4
    assert rounded["max_difference"] < 0.1
    assert report["seed_noise"]["max_difference"] > 1e-3
    assert [len(curve["losses"]) for curve in report["curves"]] == [2] * 4
