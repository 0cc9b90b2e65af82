"""A study on a local Ray cluster of two nodes: the tables of one process, also where a worker is killed on the way."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from rich.console import Console

import keeptune as package
from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError, ResourceError, WorkerLost
from keeptune.core.records import Summary, read_json
from keeptune.launch.ray import RayCluster, Resources
from keeptune.recipe.config import StudyConfig
from keeptune.study.records import TrialRecord
from keeptune.study.run import run_study
from keeptune.study.schedule import cluster as on_cluster
from keeptune.study.schedule.cluster import check_nodes, looking

pytest.importorskip("ray", reason="Ray is not installed: pip install 'keeptune[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::ray.*", "ignore::ResourceWarning")]

ARMS = ["prompt", "full", "lora+kl", "full+replay:20%"]
COSTS = {"costs", "tuned_seconds", "seconds_per_request"}


class Nodes:
    """Two nodes with one processor each, on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=small)
        self._cluster.add_node(**small)
        self.on = f"ray://{self._cluster.address}"

    @contextmanager
    def another(self, processors: int) -> Iterator[Any]:
        """One more node."""
        node = self._cluster.add_node(num_cpus=processors, object_store_memory=80_000_000, include_dashboard=False)
        try:
            yield node
        finally:
            self._cluster.remove_node(node, allow_graceful=False)

    def at_work(self) -> list[psutil.Process]:
        """Processes that do a job."""
        raylets = [node.all_processes["raylet"][0].process.pid for node in self._cluster.list_all_nodes()]
        children = [child for raylet in raylets for child in psutil.Process(raylet).children(recursive=True)]
        return [child for child in children if "_Host.serve" in " ".join(child.cmdline())]

    def close(self) -> None:
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        found = Nodes()
        yield found
        found.close()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """A worker has one thread, and another number would sum in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)
    for name, answers in (("colour", ("red", "blue", "green")), ("kept", ("yes", "no"))):
        rows = [
            {"instruction": f"Name the {name}.", "input": f"{n} {name}", "output": draw.choice(answers)}
            for n in range(120)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "model": str(tiny_folder),
        "precision": "fp32",
        "target": {"data": str(folder / "colour.jsonl")},
        "retain": [{"data": str(folder / "kept.jsonl"), "margin": 5}],
        "arms": ARMS,
        "seeds": [0],
        "prompt": {"shots": [0], "draws": 1},
        "train": {"epochs": 4, "global_batch": 8},
        "full": {"learning_rates": [3e-3]},
        "lora": {"rank": 2, "learning_rates": [1e-2]},
        "validation_items": 20,
    }
    return parse_recipe(StudyConfig, yaml.safe_dump(values))


def run(config: StudyConfig, folder: Path, **changes: Any) -> tuple[Summary, str]:
    console = Console(record=True, width=400, file=io.StringIO())
    summary = run_study(config, folder, console=console, **changes)
    return summary, console.export_text()


@pytest.fixture(scope="module")
def alone(config: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("runs") / "study"
    return folder, run(config.model_copy(update={"workers": 1}), folder)[0]


def tables(summary: Summary) -> dict[str, Any]:
    """All that a study says, but for what things cost, when they were and what came of the costs."""
    values = summary.model_dump(mode="json", exclude={"wall_seconds", "date", "manifest", "plans", "recommendation"})
    return {**_without_costs(values), "recommended": (summary.recommendation.arm, summary.recommendation.chosen)}


def _without_costs(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_costs(each) for name, each in value.items() if name not in COSTS}
    return [_without_costs(each) for each in value] if isinstance(value, list) else value


def weights(folder: Path) -> dict[str, str]:
    files = sorted(folder.glob("arms/*/*/*.safetensors"))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kill_one(nodes: Nodes, folder: Path, killed: list[int]) -> None:
    """SIGKILL for a worker in the middle of a training."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        begun = [file for file in folder.glob("arms/*/steps.jsonl") if file.stat().st_size]
        if begun and (workers := nodes.at_work()):
            workers[0].send_signal(signal.SIGKILL)
            killed.append(workers[0].pid)
            return
        time.sleep(0.02)


def test_a_worker_is_killed_and_the_tables_are_those_of_one_process(
    nodes: Nodes, config: StudyConfig, alone: tuple[Path, Summary], tmp_path: Path
) -> None:
    killed: list[int] = []
    killer = threading.Thread(target=kill_one, args=(nodes, tmp_path / "study", killed))
    killer.start()
    summary, said = run(config, tmp_path / "study", on=nodes.on, mirror=f"file://{tmp_path}/mirror")
    killer.join()
    assert len(killed) == 1
    (lost,) = (line for line in said.splitlines() if "was lost" in line)
    assert f"process {killed[0]}) was lost (" in lost and lost.endswith("; another one takes over, try 2 of 3")
    assert tables(summary) == tables(alone[1])
    assert weights(tmp_path / "study") == weights(alone[0])
    assert weights(tmp_path / "mirror") == weights(alone[0])

    again, said = run(config, tmp_path / "elsewhere", on=nodes.on, mirror=f"file://{tmp_path}/mirror")
    assert "files of this run came from file://" in said and "target" not in said.split("came from")[0]
    assert "trained before, skipped" in said and "scored before, skipped" in said
    assert again.arms == summary.arms


def test_a_node_that_is_not_like_this_machine_is_refused(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RayCluster(nodes.on) as cluster:
        check_nodes(cluster, tmp_path)
        assert not list(tmp_path.iterdir())
        with monkeypatch.context() as patch:
            patch.setattr(package, "__version__", "9.9")
            with pytest.raises(ConfigError, match=r"keeptune 0\..* \(here: 9\.9 with sources") as caught:
                check_nodes(cluster, tmp_path)
            assert "node" in str(caught.value.where) and "torch" not in caught.value.message
        monkeypatch.setattr(on_cluster, "looking", _looking_here_alone)
        with pytest.raises(ConfigError, match=f"run folder {tmp_path} not seen \\(here: seen\\)"):
            check_nodes(cluster, tmp_path)


def _looking_here_alone(place: str, file: str, token: str, packages: tuple[str, ...]) -> Any:
    """As if every node but this machine had a file system of its own."""
    real, driver = looking(place, file, token, packages), os.getpid()

    def look() -> dict[str, str]:
        found = real()
        return found if os.getpid() == driver else {**found, list(found)[-1]: "not seen"}

    return look


def test_what_fits_nowhere_and_what_dies_at_once_is_said(nodes: Nodes) -> None:
    with RayCluster(nodes.on) as cluster:
        assert cluster.room(Resources(cpus=1)) == 2
        with pytest.raises(ResourceError, match=r"no node of the cluster has room for a worker \(CPU 2\)"):
            cluster.room(Resources(cpus=2))
        with pytest.raises(ResourceError, match=r"\(CPU 1, GPU 1\)"):
            cluster.room(Resources(cpus=1, gpus=1))
        launcher = cluster.launcher(_Dies, Resources(cpus=1), most=5)
        assert (launcher.workers, launcher.sharing) == (2, 1)
        worker = launcher.start()
        assert launcher.wait([worker], 60) == [worker] and worker.report() is None and worker.ready
        worker.begin("die")
        assert launcher.wait([worker], 60) == [worker]
        with pytest.raises(WorkerLost, match="worker process has died"):
            worker.report()


def test_a_node_that_is_gone_takes_its_worker_with_it(nodes: Nodes) -> None:
    with RayCluster(nodes.on) as cluster, nodes.another(processors=3) as node:
        launcher = cluster.launcher(_Sleeps, Resources(cpus=3), most=5)
        assert launcher.workers == 1
        worker = launcher.start()
        assert launcher.wait([worker], 60) == [worker] and worker.report() is None
        worker.begin("sleep")
        assert launcher.wait([worker], 0.5) == []
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        assert launcher.wait([worker], 90) == [worker]
        with pytest.raises(WorkerLost, match="node"):
            worker.report()
        worker.stop()


class _Sleeps:
    def __call__(self, request: str) -> None:
        time.sleep(300)


class _Dies:
    def __call__(self, request: str) -> None:
        os._exit(3)


def test_one_arm_over_two_workers_is_the_arm_of_one_process(
    nodes: Nodes, config: StudyConfig, alone: tuple[Path, Summary], tmp_path: Path, keeptune: Any
) -> None:
    arms = ("prompt", "full", "lora+kl")
    values = config.model_copy(update={"arms": arms}).model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, "seeds": [0]}))
    over_two = ("study", "recipe.yaml", "--on", nodes.on, "--nproc", 2, "--out", "study", "--set", "parallel=ddp")
    ended = keeptune(*over_two)
    assert ended.code == 0, ended.err + ended.out
    files = (tmp_path / "study").glob("arms/*/trial.json")
    records = {path.parent.name: read_json(path, TrialRecord) for path in files}
    assert len(records) == len(arms) - 1
    for name, found in records.items():
        expected = read_json(alone[0] / "arms" / name / "trial.json", TrialRecord)
        assert found.row_losses == pytest.approx(expected.row_losses, rel=1e-3)
        assert found.validation.target == expected.validation.target
    assert not (tmp_path / "study" / "tmp").exists()
    refused = keeptune(*over_two, "--set", "parallel=fsdp", "--set", "offload=true")  # which the main worker finds
    assert refused.code == 2
