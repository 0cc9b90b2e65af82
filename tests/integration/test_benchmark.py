"""`make bench` stays runnable: a case of each kind, in windows that are too short to mean anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ENGINE, CURVE = BENCHMARKS / "engine.py", BENCHMARKS / "curve.py"


@pytest.mark.slow
def test_the_engine_benchmark_prints_json() -> None:
    cases = ["train/full/padded", "score/flat"]
    done = subprocess.run(
        [sys.executable, str(ENGINE), "--seconds", "0.01", "--cases", *cases],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [result["case"] for result in report["results"]] == cases
    train, score = report["results"]
    assert train["slowest"] <= train["rate"] <= train["fastest"]
    assert 0.1 < train["pad_fraction"] < 0.9
    assert train["mfu"] > 0
    assert score["rate"] > 0


@pytest.mark.slow
def test_the_curve_benchmark_prints_json() -> None:
    sizes = ["--steps", "2", "--global-batch", "2", "--validation-rows", "2"]
    done = subprocess.run([sys.executable, str(CURVE), *sizes], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    exact, rounded = report["engine"]
    assert exact["max_difference"] <= 1e-4
    assert abs(exact["validation_difference"]) <= 1e-4
    assert rounded["max_difference"] < 0.1
    assert report["seed_noise"]["max_difference"] > 1e-3
    assert [len(curve["losses"]) for curve in report["curves"]] == [2] * 4
