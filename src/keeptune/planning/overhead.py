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
from keeptune.methods.base import METHODS, Method, MethodConfig
from keeptune.models.language_model import LanguageModel

ROWS, TOKENS, BUDGET = 4, 64, 1024
SIZES = 9  # of micro-batches that follow on the training
LONGEST = 900  # seconds; a machine may be busy


def small_rows(number: int = 0) -> list[Encoded]:
    """The rows that the process trains on; by other numbers, up to `SIZES`, rows of lengths that none had before."""
    lengths = [TOKENS - number - (SIZES + 1) * row * (number > 0) for row in range(ROWS)]
    ids = [tuple(5 + (7 * row + 3 * place) % 500 for place in range(length)) for row, length in enumerate(lengths)]
    return [Encoded(str(row), each[:-16], each[-16:]) for row, each in enumerate(ids)]


@dataclass(frozen=True)
class Small:
    """What was measured of the small training."""

    peak_bytes: int  # of its process
    size_bytes: int  # that a micro-batch of one more size costs, once and for all


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
        method = settings.build()
        peak = fit(lm, method, rows, [], config, Path(folder), lr=1e-5).peak_memory_bytes
    return {"peak_bytes": peak, "size_bytes": _size_bytes(lm, method)}


def _size_bytes(lm: LanguageModel, method: Method) -> int | None:
    """What memory grows by with every new size of a micro-batch, the mean of some; each is smaller than that before.

    More than the products alone: they lie between other blocks, and what they leave there is too small for tensors.
    """
    from keeptune.train.memory import used_bytes
    from keeptune.train.microbatch_autotune import Planned, Probe
    from keeptune.train.objective import Objective

    used = []
    for number in range(1, SIZES + 1):
        Probe(lm, method, Planned([small_rows(number)], Objective(), "flat")).measure(BUDGET)
        used.append(used_bytes(lm.device))
    first, last = used[0], used[-1]
    return None if first is None or last is None else max(0, last - first) // (SIZES - 1)


def main(arguments: Sequence[str]) -> None:
    """Train, and print what was measured."""
    given = json.loads(arguments[0])
    print(json.dumps(_train(METHODS[given["method"]](**given["settings"]), given["precision"])))


if __name__ == "__main__":
    main(sys.argv[1:])
