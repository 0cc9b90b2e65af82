"""Files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeptune.core.errors import ResourceError
from keeptune.core.files import whole


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

    with pytest.raises(ResourceError, match=r"a\.txt: cannot be written \(the disk is full\) -> free disk space"):
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
