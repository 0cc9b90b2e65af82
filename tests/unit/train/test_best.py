"""Which checkpoint of a training is kept."""

from __future__ import annotations

import math
import stat
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from keeptune.core.errors import ResourceError
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel
from keeptune.train.best import Best


class Saves:
    """A method that saves nothing."""

    artifact = "adapter"

    def save(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("offers", "kept"),
    [
        ([(0, 2.0, 9), (1, 1.5, 9), (2, 1.0, 9), (3, 1.2, 9)], 2),  # nobody asked what they keep: the lowest loss
        ([(0, 2.0, 9), (1, 1.5, 0), (2, 1.0, 2), (3, 1.2, 2)], 1),  # the last that kept everything
        ([(0, 2.0, 9), (1, 1.5, 1), (2, 1.4, 0), (3, 1.0, 1)], 2),
        ([(0, 2.0, 9), (1, 2.5, 0), (2, 1.0, 2)], 2),  # what learned nothing keeps everything, and is no choice
        ([(0, 2.0, 9), (1, 2.5, 0)], 0),
        ([(0, 2.0, 9), (1, math.nan, 0), (2, 1.5, 2)], 2),
    ],
)
def test_what_keeps_the_suites_goes_before_a_lower_loss(
    offers: list[tuple[int, float, int]], kept: int, tmp_path: Path
) -> None:
    model: Any = type("Model", (), {"model": None, "tokenizer": None})()
    saves: Any = Saves()
    best = Best(model, saves, tmp_path)
    for step, loss, tier in offers:
        best.offer(step, loss, tier)
    assert best.step == kept


def test_what_an_earlier_training_left_is_removed(tiny: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    best = Best(tiny, FullConfig().build(), tmp_path)
    assert best.folder.is_dir()
    best.begin()
    assert not best.folder.exists()


@pytest.mark.parametrize("config", [FullConfig(), LoraConfig(rank=2)], ids=["full", "lora"])
def test_saved_weights_are_readable_for_others(tiny: LanguageModel, config: Any, tmp_path: Path) -> None:
    method = config.build()
    tiny.adapt(method)
    best = Best(tiny, method, tmp_path)
    best.keep(1)
    modes = {file.stat().st_mode for file in best.folder.iterdir()}
    assert all(mode & stat.S_IROTH and mode & stat.S_IRGRP for mode in modes)


def test_a_full_disk_keeps_the_weights_before(tiny: LanguageModel, tmp_path: Path) -> None:
    method: Any = LoraConfig(rank=2).build()
    tiny.adapt(method)
    best = Best(tiny, method, tmp_path)
    best.keep(1)
    before = {file.name: file.read_bytes() for file in best.folder.iterdir()}

    def fill(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    method.save = fill
    with pytest.raises(ResourceError, match=r"adapter: cannot be written \(No space left on device\)"):
        best.keep(2)
    assert {file.name: file.read_bytes() for file in best.folder.iterdir()} == before
