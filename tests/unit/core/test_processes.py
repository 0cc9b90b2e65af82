"""A worker ends with the process that started it, even where that one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, os, sys, time
from keeptune.core.processes import be_a_worker

def work():
    be_a_worker()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context(sys.argv[1]).Process(target=work).start()
    time.sleep(600)
"""


def alive(process: int) -> bool:
    """Whether a process is there and not only waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_ends_with_its_study(method: str, tmp_path: Path) -> None:
    """A copy of the server's process is no child of the study, and the server lives as long as its copies do."""
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(script), method], stdout=subprocess.PIPE) as study:
        assert study.stdout is not None
        worker = int(study.stdout.readline())
        assert alive(worker)
        study.kill()
    try:
        until = time.monotonic() + 60
        while alive(worker) and time.monotonic() < until:
            time.sleep(0.02)
        assert not alive(worker)
    finally:
        if alive(worker):
            os.kill(worker, signal.SIGKILL)
