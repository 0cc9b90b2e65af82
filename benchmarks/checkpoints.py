"""What checkpoints cost: one training of the demo by each method, with the default of `train.checkpoint_every`.

Bytes are those of a checkpoint's own files; the best weights are linked and take none. Seconds are of the wall clock
and of the processor, of every checkpoint and of the whole training, validation included. The last line of the output
is JSON.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console

from common.options import base_parser, parse, say
from common.report import finish, header
from keeptune.builtin import recipe_path
from keeptune.core import allocator
from keeptune.core.config import read_recipe
from keeptune.recipe.config import StudyConfig
from keeptune.study.messages import Messages
from keeptune.study.run import open_study
from keeptune.train.checkpoints.keeper import Checkpoints
from keeptune.train.loop import fit

RATES = {"full": 1e-4, "lora": 1e-3}


class Timed:
    """Notes every checkpoint that is written: step, bytes, seconds by the wall clock and of the processor."""

    def __init__(self) -> None:
        self.writes: list[dict[str, float]] = []
        self._write = Checkpoints._write
        noted = self

        def write(keeper: Checkpoints, step: int) -> None:
            wall, processor = time.perf_counter(), time.process_time()
            noted._write(keeper, step)
            seconds = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
            noted.writes.append({"step": step, "bytes": own_bytes(keeper._place(step)), **seconds})

        Checkpoints._write = write  # type: ignore[method-assign]


def own_bytes(place: Path) -> int:
    """Of files that stand nowhere else."""
    files = [file.stat() for file in place.rglob("*") if file.is_file()]
    return sum(file.st_size for file in files if file.st_nlink == 1)


def trained(method: str, folder: Path, timed: Timed) -> dict[str, Any]:
    """One training of the demo."""
    config = read_recipe(StudyConfig, recipe_path("demo"), ())
    _, work = open_study(config, folder, Messages(Console(file=io.StringIO())))
    rows = work.data.rows(config.seeds[0])
    timed.writes = []
    wall, processor = time.perf_counter(), time.process_time()
    result = fit(
        *(work.lm, config.method(method).build(), rows.train, rows.validation, config.train, folder / method),
        lr=RATES[method],
        order=rows.order,
    )
    whole = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    shares = {name: sum(write[name] for write in timed.writes) / seconds for name, seconds in whole.items()}
    return {"steps": result.steps, **whole, "writes": timed.writes, "shares": shares, "load": os.getloadavg()}


def main() -> None:
    """Train by each method, and say what part of it checkpoints were."""
    options = parse(base_parser(__doc__), {})
    torch.set_num_threads(options.threads)
    allocator.keep_memory()
    timed, found = Timed(), {}
    for method in RATES:
        with TemporaryDirectory() as folder:
            found[method] = trained(method, Path(folder), timed)
        say(f"{method}: {len(found[method]['writes'])} checkpoints, {found[method]['shares']['wall']:.1%} of the time")
    shares = {method: each["shares"]["wall"] for method, each in found.items()}
    finish({**header("checkpoints", options), **found}, {"benchmark": "checkpoints", **shares}, options.json)


if __name__ == "__main__":
    main()
