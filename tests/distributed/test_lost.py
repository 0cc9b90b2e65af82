"""A rank that dies or stops ends the job within a minute, and is named."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keeptune.core.records import StepRecord, read_records

RECIPE = """
model: builtin
target: {task: builtin:orders}
retain: none
arms: [full]
train: {max_steps: 40, global_batch: 8, token_budget: 4096, checkpoint_every: 2}
full: {learning_rates: [1.0e-3]}
seeds: [0]
device: cpu
precision: fp32
parallel: ddp
validation_items: 20
test_items: 20
"""
STEPS = Path("run") / "arms" / "full-lr0.001-seed0" / "steps.jsonl"
LONG = os.environ.get("KEEPTUNE_RANKS") == "long"
BLOWS = [
    (signal.SIGKILL, r"error: rank 1 of 2 \(process \d+\) was ended by SIGKILL -> run the same command again"),
    (signal.SIGSTOP, r"error: rank 1 of 2 \(process \d+ on .*\) has not answered for 20 seconds"),
]


def rank_of(launcher: int, rank: int) -> int:
    """The process id of a rank."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int(re.search(r"PPid:\s*(\d+)", (folder / "status").read_text())[1])  # type: ignore[index]
                environment = (folder / "environ").read_bytes().split(b"\0")
            except (OSError, TypeError):
                continue
            if parent == launcher and f"RANK={rank}".encode() in environment:
                return int(folder.name)
    raise AssertionError(f"no rank {rank} below process {launcher}")


def begin(folder: Path, processes: int) -> subprocess.Popen[str]:
    """The study, in so many processes."""
    (folder / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "keeptune", "study", "recipe.yaml", "--out", "run", "--nproc", str(processes)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def steps_of(folder: Path) -> list[StepRecord]:
    """What the training has written so far."""
    return list(read_records(folder / STEPS, StepRecord))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found below /proc")
@pytest.mark.parametrize(("blow", "said"), BLOWS if LONG else BLOWS[:1])
def test_a_lost_rank_ends_the_job_within_a_minute_and_is_named(blow: signal.Signals, said: str, tmp_path: Path) -> None:
    study, end = begin(tmp_path, 2), time.monotonic() + 400
    try:
        while not (tmp_path / STEPS).exists() or len(steps_of(tmp_path)) < 5:
            assert study.poll() is None and time.monotonic() < end, "it did not begin to train"
            time.sleep(0.2)
        os.kill(rank_of(study.pid, 1), blow)
        _, errors = study.communicate(timeout=60)
    finally:
        study.kill()
    assert study.returncode == 5 and re.search(said, errors), errors
    assert "Traceback" not in errors
    if LONG:
        goes_on(tmp_path)


def goes_on(folder: Path) -> None:
    """The same command ends the study: what it trained before, it does not train again, and losses are one rank's."""
    before = steps_of(folder)
    other = folder / "alone"
    other.mkdir()
    for place, processes in ((folder, 2), (other, 1)):
        study = begin(place, processes)
        _, errors = study.communicate(timeout=400)
        assert study.returncode == 0, errors
    alone, together = steps_of(other), steps_of(folder)
    assert [each.step for each in together] == [each.step for each in alone] == list(range(1, 41))
    assert [each.loss for each in together] == pytest.approx([each.loss for each in alone], rel=1e-3)
    assert together[:2] == before[:2], "steps before the checkpoint were taken once: the clock says so"
