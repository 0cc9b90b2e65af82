"""Workers on the nodes of a Ray cluster: each an object that lives there and is called, one call at a time.

Nothing else knows Ray. What a worker is made of comes as a callable, what it is called with is anything that can be
sent; a worker that was lost is the caller's to replace.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, MissingExtra, ResourceError, WorkerLost
from keeptune.core.units import cut
from keeptune.launch.torchrun import BACKENDS

SCHEME = "ray"
SAID = 300  # characters of Ray's own words about a loss
AGAIN = 2  # times that workers of one world begin again
ANSWER = 300  # seconds in which a node has to start a process and look around

Handler = Callable[[Any], Any]


@dataclass(frozen=True)
class Resources:
    """What one worker keeps busy: whole processors and whole GPUs."""

    cpus: int
    gpus: int = 0

    def __str__(self) -> str:
        return f"CPU {self.cpus}" + (f", GPU {self.gpus}" if self.gpus else "")

    def fit(self, total: Mapping[str, float]) -> int:
        """How many workers a node with these resources has room for, whoever else uses it now."""
        room = int(total.get("CPU", 0) // self.cpus)
        return min(room, int(total.get("GPU", 0) // self.gpus)) if self.gpus else room


class RayCluster:
    """A connection to a cluster; a context manager that ends it.

    Args:
        on: "ray" is the cluster that runs here or that RAY_ADDRESS names, or else Ray on this machine alone;
            "ray://host:6379" is the cluster with that head.
        show: what workers print is printed here, too.

    Raises:
        ConfigError: there is no such place, or it cannot be reached.
        MissingExtra: Ray is not installed.
    """

    def __init__(self, on: str, *, show: bool = False) -> None:
        scheme, _, address = on.partition("://")
        if scheme != SCHEME:
            raise ConfigError(f"'{on}' is no place to run", where="--on", remedy="use ray, or ray://host:6379")
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # whoever starts it: nothing is reported to anybody
        self._ray = _import()
        self._begun = not self._ray.is_initialized()
        if self._begun:
            self._connect(address, show)

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun:
            self._ray.shutdown()

    def _connect(self, address: str, show: bool) -> None:
        before = signal.getsignal(signal.SIGTERM)
        try:
            if address:
                _knock(address)
            self._ray.init(address=address or None, include_dashboard=False, log_to_driver=show, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"no Ray cluster can be used at {address or 'this machine'} ({_first_line(error)})",
                where="--on",
                remedy="start on a node of the cluster, and name its head as `ray start --head` printed it",
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # which Ray replaces by a handler of its own

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive and have processors for workers, as Ray describes them."""
        return [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]

    def room(self, each: Resources) -> int:
        """How many workers the cluster has room for.

        Raises:
            ResourceError: not for one.
        """
        room = sum(each.fit(node["Resources"]) for node in self.nodes())
        if not room:
            raise ResourceError(
                f"no node of the cluster has room for a worker ({each})",
                where="--on",
                remedy="a worker has the threads that it would have here: lower OMP_NUM_THREADS, or add nodes",
            )
        return room

    def on_every_node(self, look: Callable[[], dict[str, str]]) -> dict[str, dict[str, str]]:
        """What a function finds on every node, by the node's name.

        The function is sent as code, so that it runs where keeptune is another one or none at all: it is defined inside
        another one and imports what it needs itself.

        Raises:
            ResourceError: a node does not answer.
        """
        pinned = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        task = self._ray.remote(num_cpus=0, max_retries=0)(look)
        asked = {
            _name(node): task.options(scheduling_strategy=pinned(node["NodeID"], soft=False)).remote()
            for node in self.nodes()
        }
        found = {}
        for name, answer in asked.items():
            try:
                found[name] = self._ray.get(answer, timeout=ANSWER)
            except self._ray.exceptions.RayError as error:
                raise ResourceError(
                    f"does not answer ({_reason(error)})", where=name, remedy="see `ray status`, and stop that node"
                ) from error
        return found

    def launcher(self, make: Callable[[], Handler], each: Resources, most: int) -> RayLauncher:
        """Starts workers that are made by ``make`` on their nodes, at most as many as the cluster has room for."""
        workers = min(most, self.room(each))
        densest = max(each.fit(node["Resources"]) for node in self.nodes())
        return RayLauncher(self._ray, make, each, workers, sharing=1 if each.gpus else min(workers, densest))

    def share(self, processes: int) -> Resources:
        """The most that each of so many processes can have: a GPU where there are enough, all processors otherwise.

        Raises:
            ResourceError: there are too few processors.
        """
        totals = [node["Resources"] for node in self.nodes()]
        if sum(Resources(1, 1).fit(total) for total in totals) >= processes:
            return Resources(1, 1)
        for cpus in range(int(max((total["CPU"] for total in totals), default=0)), 0, -1):
            if sum(Resources(cpus).fit(total) for total in totals) >= processes:
                return Resources(cpus)
        raise ResourceError(f"the cluster has fewer than {processes} processors", where="--nproc")

    def together(self, run: Callable[[], int], processes: int, folder: Path) -> int:
        """Call a function in so many workers that are one world of torch.distributed; what it returns, 0 for success.

        Where a worker is lost all are begun again, up to two times: what is called goes on from what it left on disk.

        Args:
            run: finds RANK, WORLD_SIZE and LOCAL_RANK in its environment, and a process group.
            processes: workers.
            folder: for Ray Train's own files, on storage that all nodes share; it is gone afterwards.

        Raises:
            WorkerLost: too often.
        """
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.exceptions import TrainingFailedError

        each, outcome = self.share(processes), self._ray.remote(num_cpus=0)(_Outcome).remote()
        trainer = TorchTrainer(
            partial(_as_rank, run, outcome, each.cpus),
            torch_config=TorchConfig(backend=BACKENDS if each.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=processes, use_gpu=bool(each.gpus), resources_per_worker={"CPU": each.cpus}
            ),
            run_config=RunConfig(
                name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=AGAIN)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise WorkerLost(_reason(error), where="--on", remedy="run the same command again to go on") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return int(self._ray.get(outcome.get.remote()) or 0)


class RayLauncher:
    """Starts workers where the cluster has room, and hears of them (see `RayCluster.launcher`)."""

    def __init__(self, ray: Any, make: Callable[[], Handler], each: Resources, workers: int, sharing: int) -> None:
        self.workers, self.sharing = workers, sharing
        self._ray = ray
        self._make = ray.put(make)  # once for all workers of a node
        self._actor = ray.remote(num_cpus=each.cpus, num_gpus=each.gpus, max_restarts=0)(_Host)

    def start(self) -> RayWorker:
        """One more worker, on whatever node has room for it first."""
        return RayWorker(self._ray, self._actor.remote(self._make))

    def wait(self, workers: Sequence[RayWorker], seconds: float) -> Sequence[RayWorker]:
        """Those that have something to say within so many seconds."""
        by_call = {worker.call: worker for worker in workers}
        ready, _ = self._ray.wait(list(by_call), num_returns=1, timeout=seconds)
        return [by_call[call] for call in ready]

    def close(self) -> None:
        """The cluster goes on."""


class RayWorker:
    """One actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self.place, self.ready = "a worker without a node", False
        self.call = actor.place.remote()  # what is waited for

    def begin(self, request: Any) -> None:
        """Call its object."""
        self.call = self._actor.serve.remote(request)

    def report(self) -> Any:
        """What the object returned; nothing where it has only just been made.

        Raises:
            WorkerLost: its process or its node is gone.
        """
        try:
            found = self._ray.get(self.call)
        except self._ray.exceptions.RayTaskError:
            raise  # a mistake in the code, which another worker would make again
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(
                _reason(error), where="--on", remedy="see Ray's logs on that node; run the same command to go on"
            ) from error
        if self.ready:
            return found
        self.place, self.ready = found, True
        return None

    def stop(self) -> None:
        """Kill its process, if there still is one."""
        self._ray.kill(self._actor)

    def end(self) -> None:
        """Ray sees to that."""

    def close(self) -> None:
        """It has nothing to finish."""
        self.stop()


class _Host:
    """What an actor is: the object that was made on its node."""

    def __init__(self, make: Callable[[], Handler]) -> None:
        self._handler = make()

    def place(self) -> str:
        """Node and process, as people find them."""
        node = _import().get_runtime_context().get_node_id()
        return f"{socket.gethostname()} (node {node[:8]}, process {os.getpid()})"

    def serve(self, request: Any) -> Any:
        """Call the object."""
        return self._handler(request)


class _Outcome:
    """An actor that holds how a world ended."""

    def __init__(self) -> None:
        self._code: int | None = None

    def set(self, code: int) -> None:
        """The function has returned."""
        self._code = self._code or code

    def get(self) -> int | None:
        """What it returned, where it did."""
        return self._code


def _as_rank(run: Callable[[], int], outcome: Any, threads: int) -> None:
    """The life of a worker of a world.

    Raises:
        RuntimeError: it failed, so that Ray Train ends the others; those that it then begins again do nothing.
    """
    import torch

    ray = _import()
    if ray.get(outcome.get.remote()) is not None:
        return
    torch.set_num_threads(threads)
    code = run()
    if code or os.environ["RANK"] == "0":
        ray.get(outcome.set.remote(code))
    if code:
        raise RuntimeError(f"exit code {code}")


def _import() -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies  # no attribute of ray until it is imported
    except ImportError as error:
        raise MissingExtra("ray", "ray") from error
    return ray


def _knock(address: str) -> None:
    """See at once that somebody listens there: Ray tries for a minute and then ends the process.

    Raises:
        OSError: nobody does.
        ValueError: no host and port.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("not a host and a port")
    socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _name(node: Mapping[str, Any]) -> str:
    """Host, address and number: nodes may share any two of them."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:8]})"


def _reason(error: Exception) -> str:
    """Why a worker was lost, in Ray's words."""
    words = " ".join(str(error).split())
    return cut(words.rpartition("The actor is dead because ")[2] or words, SAID)


def _first_line(error: Exception) -> str:
    return cut(str(error).strip().partition("\n")[0], SAID)
