"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from keeptune.core.errors import DataError, ResourceError
from keeptune.core.files import readable, whole, writing


def test_a_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with whole(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fill() -> None:
        with whole(path) as partial:
            partial.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(ResourceError, match=r"a\.txt: cannot be written \(the disk is full\) -> .* to go on"):
        fill()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_two_processes_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    with whole(path) as mine:
        mine.write_text("mine")
        monkeypatch.setattr("os.getpid", lambda: -1)
        with whole(path) as other:
            other.write_text("other")
        assert path.read_text() == "other"
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EROFS, os.strerror(errno.EROFS)),
        PermissionError(errno.EACCES, "Permission denied"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        SafetensorError(f"Error while serializing: I/O error: {os.strerror(errno.EDQUOT)} (os error 122)"),
    ],
)
def test_a_disk_that_refuses_is_one_line_whoever_writes(error: Exception, tmp_path: Path) -> None:
    for within in (writing, whole):
        message = r"weights: cannot be written \([A-Z].*\) -> free disk space.* run the same command to go on"
        with pytest.raises(ResourceError, match=message), within(tmp_path / "weights"):
            raise error


def test_other_errors_while_writing_stay_what_they_are(tmp_path: Path) -> None:
    for error in (
        ValueError("no space"),
        SafetensorError("tensors share memory"),
        DataError("No space left on device"),
    ):
        with pytest.raises(type(error)), writing(tmp_path):
            raise error


def test_files_follow_the_umask(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(1)}
    old = os.umask(0o027)
    try:
        with whole(tmp_path / "deep" / "a.safetensors") as partial:
            save_file(tensors, partial)
        (tmp_path / "model").mkdir()
        save_file(tensors, tmp_path / "model" / "b.safetensors")
        readable(tmp_path / "model")
    finally:
        os.umask(old)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.rglob("*.safetensors")} == {0o640}
