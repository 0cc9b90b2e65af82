"""Files that several processes may write at the same time."""

from __future__ import annotations

import os
from pathlib import Path

from keeptune.core.files import unfinished
from keeptune.core.records import EngineRecord, read_json, write_json


def test_processes_do_not_share_an_unfinished_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    assert unfinished(path).parent == tmp_path
    assert str(os.getpid()) in unfinished(path).name
    record = EngineRecord(key="", token_budget=1, why="given")
    (tmp_path / "engine.json.1.partial").write_text("another process's")
    write_json(path, record)
    assert read_json(path, EngineRecord) == record
    assert sorted(file.name for file in tmp_path.iterdir()) == ["engine.json", "engine.json.1.partial"]
