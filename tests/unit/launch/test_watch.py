"""Processes that fall silent are named. Here all of them are objects of one process, around one store."""

from __future__ import annotations

import time

import pytest
from torch.distributed import HashStore

from keeptune.core.errors import ConfigError
from keeptune.launch import torchrun
from keeptune.launch.torchrun import Distributed, joined, launched
from keeptune.launch.watch import Watch
from keeptune.launch.world import ALONE


@pytest.fixture
def three() -> list[Watch]:
    store = HashStore()
    return [Watch(store, rank, 3) for rank in range(3)]


def test_who_shows_no_pulse_is_silent(three: list[Watch]) -> None:
    first, second, _ = three
    assert first.silent(0.05) == []  # none has had the time
    time.sleep(0.06)
    second._beat()
    assert first.silent(0.05) == [2]


def test_who_is_done_may_be_silent(three: list[Watch]) -> None:
    first, second, third = three
    first.silent(0.05)
    for watch in (second, third):
        watch.start()
        watch.stop()
    time.sleep(0.06)
    assert first.silent(0.05) == [] and first.late() == []


def test_who_has_entered_fewer_sums_keeps_the_others_waiting(three: list[Watch]) -> None:
    for watch, calls in zip(three, (5, 5, 4), strict=True):
        watch.calls = calls
        watch._beat()
    assert three[0].late() == [2] and three[2].late() == []
    assert three[0].name(2).startswith("rank 2 of 3 (process ")


def test_a_failed_sum_names_the_process(three: list[Watch], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun, "GRACE", 0)
    three[0].calls = 1
    error = Distributed(0, 3, three[0]._store, three[0])._lost(RuntimeError("connection closed by peer"))
    assert str(error).startswith("rank 0 of 3: rank 1 of 3 (process") and "rank 2 of 3" in str(error)
    assert error.exit_code == 5


def test_an_error_that_the_main_process_finds_too_is_its_own_to_show(three: list[Watch]) -> None:
    torchrun._told(three[0], ConfigError("wrong"))
    with pytest.raises(SystemExit) as end:
        torchrun._told(three[1], ConfigError("wrong"))
    assert end.value.code == 2


def test_an_error_of_another_process_is_shown_with_its_rank(
    three: list[Watch], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torchrun, "INTERVAL", 0.01)
    torchrun._told(three[1], ConfigError("wrong"))
    assert capsys.readouterr().err.startswith("rank 1 of 3 (process")


def test_a_process_that_nobody_launched_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with joined() as world:
        assert world is ALONE
    monkeypatch.setenv("WORLD_SIZE", "4")  # a batch system's
    assert not launched()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert launched()
