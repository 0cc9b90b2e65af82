"""A study that is stopped or killed, again and again, has the tables of one that never was."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from keeptune.core.config import parse_recipe
from keeptune.core.errors import RunFolderError
from keeptune.core.records import EngineRecord, Summary, read_json
from keeptune.recipe.config import StudyConfig
from keeptune.study.run import run_study

KILLS = 10
# The command line, on a machine whose probes would say otherwise: no memory, other number formats, other processes.
OTHERWISE = """
import keeptune.models.precision, keeptune.study.run, keeptune.train.microbatch_autotune as autotune
from keeptune.cli.main import main
autotune.available_bytes = lambda device: 1
keeptune.models.precision.cpu_has_bf16 = lambda: True
keeptune.study.run.fitting_workers = lambda *given: 3
main()
"""


Recipe = Callable[..., dict[str, Any]]


def command(recipe: Path, data: Path, run: Path, *more: str, otherwise: bool = False) -> list[str]:
    program = ["-c", OTHERWISE] if otherwise else ["-m", "keeptune"]
    return [sys.executable, *program, "study", str(recipe), "--data", str(data), "--out", str(run), *more]


def tables(run: Path) -> dict[str, Any]:
    """All that a study found, but for what it cost; and the weights that it kept."""
    summary = read_json(run / "summary.json", Summary).model_dump(mode="json")
    arms = [{name: value for name, value in arm.items() if name != "costs"} for arm in summary["arms"]]
    weights = {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.glob("arms/*/*/*.safetensors"))
    }
    budgets = {
        path.parent.name: read_json(path, EngineRecord).token_budget for path in sorted(run.glob("arms/*/engine.json"))
    }
    chosen = [summary["recommendation"][name] for name in ("arm", "chosen")]
    return {"arms": arms, "frontier": summary["frontier"], "chosen": chosen, "weights": weights, "budgets": budgets}


def finish(words: list[str]) -> None:
    """Let nobody stop a study."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.mark.slow
def test_a_study_that_is_asked_to_stop_saves_and_goes_on(data: Path, recipe: Recipe, tmp_path: Path) -> None:
    """It passes the signal on to its two workers; meanwhile nobody else may have its folder."""
    file, run, values = tmp_path / "recipe.yaml", tmp_path / "run", recipe(arms=["full"], seeds=[0], retain="none")
    file.write_text(yaml.safe_dump(values))

    def here(folder: Path) -> None:
        config = parse_recipe(StudyConfig, yaml.safe_dump({**values, "workers": 1}))
        run_study(config, folder, console=Console(quiet=True), data_root=data)

    with subprocess.Popen(command(file, data, run), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as study:
        while not list(run.glob("arms/*/checkpoints/step-*")):
            assert study.poll() is None
            time.sleep(0.02)
        study.send_signal(signal.SIGTERM)
        with pytest.raises(RunFolderError, match=f"in use by process {study.pid} on {socket.gethostname()}"):
            here(run)
        assert study.stderr is not None
        said = study.stderr.read().decode()
    assert study.returncode == 143, said
    assert "run the same command to go on" in said
    assert list(run.glob("arms/*/checkpoints/step-*")) and not list(run.glob("arms/*/checkpoints/*.partial"))
    here(run)
    assert not list(run.glob("arms/*/checkpoints"))
    here(tmp_path / "whole")
    assert tables(run) == tables(tmp_path / "whole")


def progress(run: Path) -> int:
    """Steps and results that a study has left so far."""
    steps = sum(len(path.read_bytes().splitlines()) for path in run.glob("arms/*/steps.jsonl"))
    folders = os.walk(run)  # which minds no folder that goes meanwhile
    return steps + sum(len(files) for folder, _, files in folders if "checkpoints" not in folder)


def test_a_study_that_is_killed_again_and_again(data: Path, recipe: Recipe, tmp_path: Path, long_form: bool) -> None:
    """Ten times, once of them on a machine whose probes would decide otherwise."""
    if not long_form:
        pytest.skip("part of `make faults`")
    file, run, whole = tmp_path / "recipe.yaml", tmp_path / "run", tmp_path / "whole"
    file.write_text(yaml.safe_dump(recipe(precision="auto", workers=1, seeds=[0], full={"learning_rates": [3e-3]})))
    finish(command(file, data, whole))
    most, reached, draw = round(0.8 * progress(whole) / KILLS), 0, random.Random(0)
    for number in range(KILLS):
        several = ["--set", "workers=2"] if number % 3 == 0 else []
        words = command(file, data, run, *several, otherwise=number == KILLS // 2)
        reached += draw.randint(1, most)
        with (tmp_path / f"log{number}").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as study:
            while progress(run) < reached:
                assert study.poll() is None, "it ended before it was killed"
                time.sleep(0.01)
            study.send_signal((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)[number % 3])
        reached = max(reached, progress(run))
    finish(command(file, data, run))
    assert tables(run) == tables(whole)
    print(f"{KILLS} kills, {len(list(run.glob('arms/*/trial.json')))} trainings, tables identical")
