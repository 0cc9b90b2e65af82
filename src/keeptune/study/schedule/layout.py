"""Which way several processes share a study: an arm each, or one arm over all, with whole weights or with shards."""

from __future__ import annotations

import math
import os
from typing import Literal

import torch
from safetensors import safe_open

from keeptune.core.errors import ConfigError
from keeptune.models.load import model_folder
from keeptune.models.precision import pick_device, pick_dtype
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import StudyConfig
from keeptune.recipe.search import AT_ONCE
from keeptune.train.memory import total_bytes
from keeptune.train.optim import state_bytes
from keeptune.train.sharded import Sharding

Layout = Literal["arms", "ddp", "fsdp"]

ROOM = 0.8  # of a device's memory; the rest is for activations


def choose_layout(asked: Literal["auto", "arms", "ddp", "fsdp"], *, fits: bool, trainings: int) -> Layout:
    """What the recipe says; else shards where the largest training does not fit on a device.

    Where it fits, arms side by side need no communication at all; one training alone is shared.
    """
    if asked != "auto":
        return asked
    if not fits:
        return "fsdp"
    return "arms" if trainings > 1 else "ddp"


def layout_of(config: StudyConfig, processes: int) -> Layout:
    """The layout for a study before anything is loaded."""
    return choose_layout(
        config.parallel, fits=fits(config, stored_parameters(config.model), processes), trainings=trainings(config)
    )


def sharding_of(config: StudyConfig, parameters: int, processes: int) -> Sharding | None:
    """How processes that already train together hold the weights; None: whole.

    Raises:
        ConfigError: the recipe asks for arms side by side, for what cannot be sharded, or for offload without a GPU.
    """
    if config.parallel == "arms":
        raise ConfigError(
            "a launcher started these processes to train together",
            where="parallel",
            remedy="use --nproc for an arm in each process, or parallel: ddp",
        )
    layout = choose_layout(config.parallel, fits=fits(config, parameters, processes), trainings=1)
    if layout != "fsdp":
        return None
    for arm in (*config.training_arms, *config.sequence_arms):
        try:
            arm.check_sharded()
        except ValueError as error:
            raise ConfigError(str(error), where="parallel", remedy="leave the arm out, or use parallel: ddp") from error
    if config.offload and pick_device(config.device).type != "cuda":
        raise ConfigError("shards on a CPU are in host memory already", where="offload", remedy="leave it out")
    return Sharding(config.offload)


def trainings(config: StudyConfig) -> int:
    """How many can run at the same time."""
    trials = sum(len(config.learning_rates(arm)) + len(config.seeds) - 1 for arm in config.training_arms)
    chains = len(config.sequence.arms) * max(1, len(config.sequence.orders)) if config.sequence else 0
    return max(trials, chains, AT_ONCE if config.searches else 1)


def fits(config: StudyConfig, parameters: int, processes: int) -> bool:
    """Whether the largest training of a recipe fits on one of the devices that so many processes use."""
    device = pick_device(config.device)
    dtype = pick_dtype(config.precision, device)
    arms = (*config.training_arms, *config.sequence_arms)
    needed = max((training_bytes(arm, parameters, dtype) for arm in arms), default=0)
    return needed <= ROOM * device_bytes(device, processes)


def training_bytes(arm: Arm, parameters: int, dtype: torch.dtype) -> int:
    """Bytes that a training of ``arm`` needs beside activations, for a model of so many weights."""
    trained = dtype.itemsize + state_bytes(dtype)  # its gradient, and what the optimiser keeps
    return parameters * (dtype.itemsize + (trained if arm.method.copies_base else 0))


def device_bytes(device: torch.device, processes: int) -> float:
    """Memory of a device, or a process's part of this machine's; without end where it is not known."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    whole = total_bytes()
    return math.inf if whole is None else whole / int(os.environ.get("LOCAL_WORLD_SIZE", processes))


def stored_parameters(model: str) -> int:
    """How many weights a model's files hold."""
    count = 0
    for file in model_folder(model).glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            count += sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118
    return count
