"""What a process takes beside the tensors of a training: libraries, their workspaces, the interpreter. Measured.

A process of its own trains the built-in model for two steps; what its peak is above the account of that training is
the overhead of any training by the same method on this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from keeptune.core.errors import ResourceError
from keeptune.data.examples import Encoded
from keeptune.methods.base import METHODS, MethodConfig

ROWS, TOKENS, BUDGET = 4, 64, 1024
SHAPES = 64  # of products
LONGEST = 900  # seconds; a machine may be busy


def small_rows() -> list[Encoded]:
    """The rows that the process trains on: no two of them share a prefix."""
    ids = [tuple(5 + (7 * row + 3 * place) % 500 for place in range(TOKENS)) for row in range(ROWS)]
    return [Encoded(str(number), each[:-16], each[-16:]) for number, each in enumerate(ids)]


@dataclass(frozen=True)
class Small:
    """What was measured of the small training."""

    peak_bytes: int  # of its process
    kernel_bytes: int  # that one more shape of a product costs, once and for all


def measure_small_training(settings: MethodConfig, precision: str) -> Small:
    """Of a process that trains the built-in model by a method, with all that a study's process has loaded.

    Raises:
        ResourceError: the process failed, or the system does not say how much memory one takes.
    """
    name, values = next(name for name in METHODS if METHODS[name] is type(settings)), settings.model_dump(mode="json")
    given = json.dumps({"method": name, "settings": values, "precision": precision})
    command = [sys.executable, "-m", __name__, given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not last or "null" in last[0]:
        reason = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise ResourceError(f"the probe of memory failed: {reason[0]}", remedy="plan for a device of the table")
    return Small(**json.loads(last[0]))


def _train(settings: MethodConfig, precision: str) -> dict[str, int | None]:
    import keeptune.study.run  # noqa: F401  # what a study's process has loaded
    from keeptune.core import allocator
    from keeptune.models.load import load
    from keeptune.train.loop import TrainConfig, fit

    allocator.keep_memory()
    torch.set_num_threads(1)
    lm, rows = load("builtin", device="cpu", precision=precision), small_rows()
    config = TrainConfig(epochs=2, global_batch=ROWS, token_budget=BUDGET)
    with TemporaryDirectory() as folder:
        peak = fit(lm, settings.build(), rows, [], config, Path(folder), lr=1e-5).peak_memory_bytes
    return {"peak_bytes": peak, "kernel_bytes": _kernel_bytes(lm.dtype)}


def _kernel_bytes(dtype: torch.dtype) -> int | None:
    """What memory grows by with every new shape of a product, the mean of some."""
    from keeptune.train.memory import release, used_bytes

    left, right = torch.zeros(SHAPES + 8, 64, dtype=dtype), torch.zeros(64, 64, dtype=dtype)
    device = torch.device("cpu")
    _ = left[:7] @ right
    release()
    before = used_bytes(device)
    for rows in range(8, SHAPES + 8):
        _ = left[:rows] @ right
    after = used_bytes(device)
    return None if before is None or after is None else max(0, after - before) // SHAPES


def main(arguments: Sequence[str]) -> None:
    """Train, and print what was measured."""
    given = json.loads(arguments[0])
    print(json.dumps(_train(METHODS[given["method"]](**given["settings"]), given["precision"])))


if __name__ == "__main__":
    main(sys.argv[1:])
