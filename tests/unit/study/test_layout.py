"""Which way several processes share a study."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from keeptune.core.errors import ConfigError
from keeptune.recipe.config import StudyConfig
from keeptune.study.schedule import layout
from keeptune.study.schedule.layout import (
    choose_layout,
    fits,
    sharding_of,
    stored_parameters,
    training_bytes,
    trainings,
)
from keeptune.study.schedule.processes import worker_devices
from keeptune.train.sharded import Sharding

TARGET = {"task": "builtin:orders"}


def recipe(**settings: Any) -> StudyConfig:
    return StudyConfig(model="builtin", target=[TARGET], device="cpu", precision="fp32", **settings)


@pytest.mark.parametrize(
    ("asked", "does_fit", "several", "chosen"),
    [
        ("auto", True, True, "arms"),
        ("auto", True, False, "ddp"),
        ("auto", False, True, "fsdp"),
        ("auto", False, False, "fsdp"),
        ("ddp", False, True, "ddp"),
        ("fsdp", True, True, "fsdp"),
        ("arms", True, False, "arms"),
    ],
)
def test_an_arm_each_where_it_fits_and_one_over_all_where_not(
    asked: Any, does_fit: bool, several: bool, chosen: str
) -> None:
    assert choose_layout(asked, fits=does_fit, trainings=4 if several else 1) == chosen


def test_bytes_of_full_fine_tuning_are_those_of_the_optimiser_and_a_gradient() -> None:
    (full,) = recipe(arms=["full"]).training_arms
    assert training_bytes(full, 10, torch.bfloat16) == 10 * (2 + 2 + 4 + 8 + 4)
    assert training_bytes(full, 10, torch.float32) == 10 * (4 + 4 + 8)


def test_full_fine_tuning_needs_four_times_the_weights_and_an_adapter_little_more_than_them() -> None:
    memory = {"full": 4_700_000 * (4 + 4 + 8), "lora": 4_700_000 * 4}
    for method, needed in memory.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layout, "device_bytes", lambda *_: 1.01 * needed / layout.ROOM)  # noqa: B023
            assert fits(recipe(arms=[method]), 4_700_000, 2)
            patch.setattr(layout, "device_bytes", lambda *_: 0.99 * needed / layout.ROOM)  # noqa: B023
            assert not fits(recipe(arms=[method]), 4_700_000, 2)


def test_weights_are_counted_without_loading_them() -> None:
    from keeptune.models.load import load

    assert stored_parameters("builtin") == load("builtin", device="cpu").parameters


def test_trainings_that_can_run_side_by_side() -> None:
    config = recipe(arms=["prompt", "lora"], seeds=[0, 1], lora={"learning_rates": [1e-3, 1e-2]})
    assert trainings(config) == 3
    assert trainings(recipe(arms=["prompt"])) == 1


def test_ranks_hold_whole_weights_or_shards() -> None:
    assert sharding_of(recipe(arms=["full"]), 10**6, 2) is None
    assert sharding_of(recipe(arms=["full"], parallel="fsdp"), 10**6, 2) == Sharding()
    assert sharding_of(recipe(arms=["full"]), 10**15, 2) == Sharding()
    with pytest.raises(ConfigError, match="a launcher started these processes to train together"):
        sharding_of(recipe(parallel="arms"), 10**6, 2)
    with pytest.raises(ConfigError, match="'lora\\+l2sp': l2sp needs weights that are whole"):
        sharding_of(recipe(arms=["lora+l2sp"]), 10**15, 2)
    with pytest.raises(ConfigError, match="in host memory already"):
        sharding_of(recipe(arms=["full"], parallel="fsdp", offload=True), 10**6, 2)


@pytest.mark.parametrize("arm", ["full+l2sp", "lora+talr", "dora", "ia3"])
def test_what_needs_whole_weights_is_refused_by_name(arm: str) -> None:
    with pytest.raises(ValueError, match="needs weights that are whole in every process"):
        recipe(arms=[arm], parallel="fsdp")
    recipe(arms=[arm], parallel="ddp")


def test_packed_weights_are_not_sharded() -> None:
    with pytest.raises(ValueError, match="packed weights cannot be sharded"):
        recipe(arms=["lora"], quantise="int8", parallel="fsdp")


def test_every_worker_has_a_gpu_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert worker_devices("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert worker_devices("cuda:1", 2) == ["cuda:1", "cuda:1"] and worker_devices("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert worker_devices("auto", 2) == ["auto", "auto"]
