"""An all-reduce between processes of this machine, timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from keeptune.train.optim import BUCKET

REPEATS = 7


def all_reduce(ranks: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Bytes per second over every link of a ring of processes, by the formula of the plan; the best of some.

    Args:
        ranks: processes, each on one thread, over gloo.
        clock: seconds; those of a process's own processor time where others share the machine.
    """
    times: Any = mp.get_context("spawn").SimpleQueue()
    with TemporaryDirectory() as folder:
        mp.spawn(_reduce, (ranks, str(Path(folder) / "ring"), clock, times), nprocs=ranks)
    best = min(times.get() for _ in range(REPEATS))
    return 2 * (ranks - 1) / ranks * 4 * BUCKET / best


def _reduce(rank: int, ranks: int, file: str, clock: Callable[[], float], times: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=ranks)
    torch.set_num_threads(1)
    numbers = torch.ones(BUCKET)
    for _ in range(REPEATS):
        dist.barrier()
        started = clock()
        dist.all_reduce(numbers)
        if rank == 0:
            times.put(clock() - started)
    dist.destroy_process_group()
