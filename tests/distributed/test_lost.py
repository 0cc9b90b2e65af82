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

RECIPE = """
model: builtin
target: {task: builtin:orders}
retain: none
arms: [full]
train: {epochs: 50, global_batch: 8, token_budget: 4096}
full: {learning_rates: [1.0e-3]}
seeds: [0]
device: cpu
precision: fp32
parallel: ddp
"""


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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found below /proc")
@pytest.mark.parametrize(
    ("blow", "said"),
    [
        (signal.SIGKILL, r"error: rank 1 of 2 \(process \d+\) was ended by SIGKILL -> run the same command again"),
        (signal.SIGSTOP, r"error: rank 1 of 2 \(process \d+ on .*\) has not answered for 30 seconds"),
    ],
)
def test_a_lost_rank_ends_the_job_within_a_minute_and_is_named(blow: signal.Signals, said: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "keeptune", "study", "recipe.yaml", "--out", "run", "--nproc", "2"]
    study = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    steps, end = tmp_path / "run" / "arms" / "full-lr0.001-seed0" / "steps.jsonl", time.monotonic() + 400
    try:
        while not steps.exists() or steps.stat().st_size < 200:
            assert study.poll() is None and time.monotonic() < end, "it did not begin to train"
            time.sleep(0.2)
        os.kill(rank_of(study.pid, 1), blow)
        _, errors = study.communicate(timeout=60)
    finally:
        study.kill()
    assert study.returncode == 5 and re.search(said, errors), errors
    assert "Traceback" not in errors
