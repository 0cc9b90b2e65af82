"""What is decided once for a study and holds wherever it goes on: in other processes, on other days, on other machines.

`auto` means what suits the machine that a study begins on. Two processes that each decided for themselves could decide
otherwise, and would then train what the other does not find.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from keeptune.core.errors import DataError
from keeptune.core.records import Record, read_json, write_json
from keeptune.recipe.config import StudyConfig

T = TypeVar("T")

FILE = "settled.json"
NAMES: dict[str, Literal["bf16", "fp32"]] = {"torch.bfloat16": "bf16", "torch.float32": "fp32"}


class Settled(Record):
    """settled.json in the run's folder."""

    precision: Literal["bf16", "fp32"]
    engine: str | None = None  # how the base runs: a model that runs padded differs in rounding from one that runs flat
    workers: int | None = None  # processes, which share the threads: another number of threads sums in another order


def settled(config: StudyConfig, folder: Path) -> StudyConfig:
    """The recipe with what was decided when the study in ``folder`` began; what it states itself is not touched."""
    found = _read(folder)
    if found is None:
        return config
    return config.model_copy(update={"precision": found.precision}) if config.precision == "auto" else config


def settle(config: StudyConfig, folder: Path, dtype: str) -> StudyConfig:
    """Write down what ``auto`` came to; the recipe then states it, and so does the manifest; workers are given it."""
    before, precision = _read(folder), NAMES[dtype]
    if before is None or before.precision != precision:
        kept = before.model_dump(exclude={"precision"}) if before else {}
        write_json(folder / FILE, Settled(precision=precision, **kept))
    return config.model_copy(update={"precision": precision})


def settle_engine(folder: Path, name: str) -> str:
    """The engine that the study began with; the one of this ``name``, which is then written down, where it begins."""
    return _settled_as(folder, "engine", name)


def settle_workers(folder: Path, fitting: int) -> int:
    """The number of processes that the study began with; ``fitting``, which is then written down, where it begins."""
    return _settled_as(folder, "workers", fitting)


def _settled_as(folder: Path, field: str, value: T) -> T:
    """What a field was settled as; where it was not, ``value``. That is written down if `settle` has begun a record."""
    found = _read(folder)
    if found is None:
        return value
    before: T | None = getattr(found, field)
    if before is not None:
        return before
    write_json(folder / FILE, found.model_copy(update={field: value}))
    return value


def _read(folder: Path) -> Settled | None:
    try:
        return read_json(folder / FILE, Settled)
    except DataError:
        return None
