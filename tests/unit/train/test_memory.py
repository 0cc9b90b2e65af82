from __future__ import annotations

from pathlib import Path

import pytest
import torch

from keeptune.train import memory
from keeptune.train.memory import available_bytes, peak_bytes, release, reset_peak, used_bytes

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


@LINUX
def test_the_peak_covers_what_came_after_the_mark() -> None:
    block = torch.ones(32 * 2**20)  # 128 MB
    del block
    reset_peak(CPU)
    before = used_bytes(CPU)
    block = torch.ones(16 * 2**20)
    del block
    peak = peak_bytes(CPU)
    assert before is not None and peak is not None
    assert 50e6 < peak - before < 100e6


def container(monkeypatch: pytest.MonkeyPatch, folder: Path, limit: str) -> None:
    (folder / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (folder / "own").write_text("0::/box\n")
    (folder / "box").mkdir()
    (folder / "box" / "memory.max").write_text(limit)
    (folder / "box" / "memory.current").write_text("1000000")
    (folder / "box" / "memory.stat").write_text("anon 5\ninactive_file 300000\n")
    monkeypatch.setattr(memory, "_MEMINFO", folder / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", folder)
    monkeypatch.setattr(memory, "_OWN_GROUP", folder / "own")


@pytest.mark.parametrize(("limit", "expected"), [("max\n", 8_192_000), ("2000000\n", 1_300_000)])
def test_available_is_what_machine_and_container_leave(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, expected: int
) -> None:
    container(monkeypatch, tmp_path, limit)
    assert available_bytes(CPU) == expected


def test_unknown_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    assert available_bytes(CPU) is None
    assert peak_bytes(CPU) is None and used_bytes(CPU) is None
    release()
