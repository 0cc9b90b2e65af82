"""Processes under torch's launcher: `start` begins them on this machine, `joined` is the world that one is in.

A plain ``torchrun -m keeptune ...`` does as well: what counts are RANK, WORLD_SIZE and LOCAL_RANK in the environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from keeptune.core.errors import KeeptuneError, ResourceError
from keeptune.core.processes import cores
from keeptune.launch.watch import GRACE, INTERVAL, Watch
from keeptune.launch.world import ALONE, World

if TYPE_CHECKING:  # commands look for their world before they import torch
    from torch import Tensor

BACKENDS = "cpu:gloo,cuda:nccl"
TIMEOUT = timedelta(minutes=10)  # that a sum waits for a process which is alive and does not come
SHUTDOWN = 30  # seconds that processes have to save and end, when they are asked to or when one of them failed
AGAIN = "run the same command again to go on"


@dataclass(frozen=True)
class Distributed(World):
    """A process of torch's default process group: gloo for tensors on the CPU, NCCL for those on a GPU."""

    watch: Watch | None = None

    @override
    def sum(self, tensor: Tensor) -> Tensor:
        """By an all-reduce.

        Raises:
            ResourceError: a process is gone, or does not come within `TIMEOUT`.
        """
        from torch import distributed

        assert self.watch is not None
        self.watch.calls += 1
        tensor = tensor.contiguous()
        try:
            distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise self._lost(error) from error
        return tensor

    @override
    def first(self, make: Callable[[], bytes]) -> bytes:
        """What the main process makes: until it has, the others ask the store and no sum's timeout runs."""
        assert self.watch is not None
        key = f"ready/{self.watch.calls}"  # calls are the same everywhere
        if self.is_main:
            made = make()
            self.watch.tell(key)
            return self.gather(made)[0]
        try:
            self.watch.wait_for(key)
        except RuntimeError as error:
            raise self._lost(error) from error
        return self.gather(b"")[0]

    def _lost(self, error: Exception) -> ResourceError:
        """Which process is gone. The launcher sees more than a peer does, so it is given the time to end this one."""
        assert self.watch is not None
        time.sleep(GRACE)
        names = []
        with contextlib.suppress(RuntimeError):  # the store may be gone, too
            names = [self.watch.name(rank) for rank in self.watch.silent(INTERVAL * 2) or self.watch.late()]
        who = f"{', '.join(names)} did not answer" if names else f"a process was lost ({error})"
        return ResourceError(who, where=f"rank {self.rank} of {self.size}", remedy=AGAIN)


def launched() -> bool:
    """Whether a launcher began this process as one of several."""
    return "MASTER_ADDR" in os.environ and "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[World]:
    """Within, the world that a launcher began this process in; alone where none did.

    On a machine with CUDA the process uses the GPU of its local rank. An error that the main process finds, too, is
    the main one's to show: then another process only ends with its exit code.
    """
    if not launched():
        yield ALONE
        return
    import torch
    from torch import distributed

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    begun = not distributed.is_initialized()  # otherwise the launcher did
    if begun:
        distributed.init_process_group(BACKENDS if cuda else "gloo", timeout=TIMEOUT)
    store: Any = distributed.distributed_c10d._get_default_store()
    watch = Watch(store.clone(), rank, size)
    distributed.barrier()
    watch.start()
    try:
        yield Distributed(rank, size, watch)
    except Exception as error:
        _told(watch, error)
        raise
    finally:
        watch.stop()
    if begun:
        distributed.destroy_process_group()


def _told(watch: Watch, error: Exception) -> None:
    """Let one process show an error that several have found, and another one say which it is."""
    if watch.rank == 0:
        watch.fail()
        return
    if watch.main_failed(2 * INTERVAL):
        raise SystemExit(error.exit_code if isinstance(error, KeeptuneError) else 1) from error
    sys.stderr.write(f"{watch.name(watch.rank)} failed:\n")


def start(processes: int, arguments: Sequence[str]) -> int:
    """Run ``keeptune`` with ``arguments`` in so many processes on this machine; the exit code of the first that failed.

    The processes show their errors themselves; one that was killed is named here. Ctrl-C and SIGTERM are passed on.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"keeptune-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        local_addr="localhost",
        shutdown_timeout=SHUTDOWN,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "keeptune", *arguments)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            killed = f"rank {failure.local_rank} of {processes} (process {failure.pid}) was ended by {name}"
            raise ResourceError(killed, remedy=AGAIN) from error
        return int(failure.exitcode)
    except SignalException as end:
        return 128 + int(end.sigval)
    return 0
