"""A world on a cluster, whose processes may have to begin again."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from keeptune.cli import ranks
from keeptune.launch import ray
from keeptune.study.schedule import cluster


class Cluster:
    """Notes what it is asked to run."""

    asked: list[Any]

    def __init__(self, on: str, *, show: bool = False) -> None:
        Cluster.asked = []

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        pass

    def together(self, run: Any, processes: int, folder: Path) -> int:
        Cluster.asked += run.args
        return 0


def test_a_run_is_written_over_once_however_often_its_processes_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a world that lost one begin again with the same command, and go on from what lies in the folder."""
    (tmp_path / "recipe.json").write_text("{}")
    (tmp_path / "arms").mkdir()
    monkeypatch.setattr(ray, "RayCluster", Cluster)
    monkeypatch.setattr(cluster, "check_nodes", lambda cluster, folder: None)
    monkeypatch.setattr(sys, "argv", ["keeptune", "study", "recipe.yaml", "--overwrite", "--nproc", "2"])
    assert ranks._start_on("ray", 2, tmp_path) == 0
    assert not (tmp_path / "arms").exists()
    assert Cluster.asked[1] == ["study", "recipe.yaml", "--nproc", "2"]
