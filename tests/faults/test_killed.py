"""SIGKILL at any moment, also in the middle of a file: what is continued ends at the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_a_training_that_is_killed_anywhere_ends_at_the_same_bits(
    tiny_folder: Path, tmp_path: Path, long_form: bool
) -> None:
    numbers = [str(number) for number in range(50 if long_form else 4)]
    command = [sys.executable, str(HERE / "killed.py"), str(tiny_folder), str(tmp_path), *numbers]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    print(f"{sum(each['same'] for each in ended)} of {len(ended)} at the same bits\n{done.stdout}")
    assert len(ended) == len(numbers)
    assert all(each["same"] for each in ended), ended
    assert all(each["code"] == -signal.SIGKILL for each in ended)
