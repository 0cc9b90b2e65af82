from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from keeptune.core.errors import RunFolderError
from keeptune.core.lock import locked

HOLD = "import sys, pathlib; from keeptune.core.lock import locked\n" + (
    "with locked(pathlib.Path(sys.argv[1])):\n    print('mine', flush=True); sys.stdin.read()"
)


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "mine\n"
        with pytest.raises(RunFolderError) as refused, locked(folder):
            pass
        assert f"in use by process {owner.pid} on {socket.gethostname()}, since 2" in str(refused.value)
        assert str(folder) in str(refused.value) and "--out" in str(refused.value)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with locked(folder):  # a dead process holds nothing
        assert str(os.getpid()) in (folder / "lock").read_text()
    with locked(folder):
        pass


def test_a_folder_in_which_nothing_was_left_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "train"
    with locked(folder):
        assert folder.is_dir()
    assert not (tmp_path / "runs").exists()
    with locked(folder):
        (folder / "recipe.json").write_text("{}")
    assert (folder / "recipe.json").is_file() and (folder / "lock").is_file()
