"""What can be said of a cluster without one: addresses, room, and that Ray is missing or nobody listens."""

from __future__ import annotations

import builtins
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from keeptune.core.errors import ConfigError, MissingExtra
from keeptune.launch import ray as on_ray
from keeptune.launch.ray import RayCluster, Resources


def test_a_node_has_room_for_whole_workers() -> None:
    node = {"CPU": 7.0, "GPU": 2.0}
    assert Resources(cpus=2).fit(node) == 3
    assert Resources(cpus=1, gpus=1).fit(node) == 2
    assert Resources(cpus=4, gpus=1).fit(node) == 1
    assert Resources(cpus=1, gpus=1).fit({"CPU": 7.0}) == 0
    assert str(Resources(cpus=4, gpus=1)) == "CPU 4, GPU 1"


@pytest.mark.parametrize("on", ["slurm", "rays://here:1", "", "10.0.0.1:6379"])
def test_other_places_are_refused_before_ray_is_looked_for(on: str) -> None:
    with pytest.raises(ConfigError, match="no place to run"):
        RayCluster(on)


def test_ray_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *given: Any) -> Any:
        if name.partition(".")[0] == "ray":
            raise ImportError(name)
        return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'keeptune\[ray\]'"):
        RayCluster("ray")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A Ray that is connected at once, and takes over SIGTERM as the real one does."""
    found = SimpleNamespace(given={}, ended=False, is_initialized=lambda: False)

    def init(**given: Any) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        found.given = given

    found.init, found.shutdown = init, lambda: setattr(found, "ended", True)
    monkeypatch.setattr(on_ray, "_import", lambda: found)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    return found


def test_nothing_is_reported_to_anybody_and_signals_stay_the_programs(fake: SimpleNamespace) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with RayCluster("ray"):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert fake.given["address"] is None and fake.given["include_dashboard"] is False
        assert signal.getsignal(signal.SIGTERM) is before and not fake.ended
    assert fake.ended


def test_a_connection_that_somebody_else_made_stays(fake: SimpleNamespace) -> None:
    fake.is_initialized = lambda: True
    with RayCluster("ray"):
        assert fake.given == {}
    assert not fake.ended


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1", "nowhere:"])
def test_a_head_that_is_not_there_is_refused(fake: SimpleNamespace, address: str) -> None:
    with pytest.raises(ConfigError, match=f"no Ray cluster can be used at {address} "):
        RayCluster(f"ray://{address}")
    assert fake.given == {}
