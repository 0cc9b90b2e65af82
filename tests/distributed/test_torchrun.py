"""torch's own launcher in place of --nproc: the same study, once and with the same results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keeptune.core.records import StepRecord, Summary, read_json, read_records

RECIPE = """
model: builtin
target: {task: builtin:orders}
retain: none
arms: [full]
train: {max_steps: 3, global_batch: 8, token_budget: 2048}
full: {learning_rates: [1.0e-3]}
device: cpu
precision: fp32
parallel: ddp
validation_items: 20
test_items: 20
"""


def study(folder: Path, out: str, *launcher: str) -> Summary:
    """The study as a launcher begins it; its standard error is empty but for the launcher's own lines."""
    (folder / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, *launcher, "-m", "keeptune", "study", "recipe.yaml", "--out", out, "--quiet"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1  # the main process speaks, the other one is silent
    return read_json(folder / out / "summary.json", Summary)


@pytest.mark.slow
def test_a_study_under_torchrun_has_the_results_of_one_process(tmp_path: Path) -> None:
    two = study(tmp_path, "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    one = study(tmp_path, "one")
    (mine,), (other,) = two.arms, one.arms
    assert mine.name == other.name and mine.target.n == other.target.n == 20
    assert mine.target.mean == pytest.approx(other.target.mean, abs=0.051)  # a near tie may fall the other way
    losses = [
        [step.loss for step in read_records(tmp_path / run / str(mine.folder) / "steps.jsonl", StepRecord)]
        for run in ("two", "one")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 3
