"""A full disk, a read-only one, a folder that is gone."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keeptune.core.errors import ResourceError
from keeptune.core.records import StepRecord
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.tracking.base import Callback, Run
from keeptune.train.checkpoints.keeper import FOLDER
from keeptune.train.loop import TrainConfig, fit

Rows = Callable[..., list[Encoded]]
CONFIG = TrainConfig(epochs=2, global_batch=2, checkpoint_every=1, validations_per_epoch=2)


class At(Callback):
    """Does something after a step."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act
        self.seen: list[int] = []

    def after_step(self, run: Run, record: StepRecord) -> None:
        self.seen.append(record.step)
        if record.step == self.step:
            self.act()


@pytest.fixture
def train(build: Callable[..., Any], tokenizer: Any, random_rows: Rows) -> Callable[..., str]:
    """Trains a fresh model for eight steps; gives the hash of what came of it."""

    def run(folder: Path, *hooks: Callback) -> str:
        lm = LanguageModel.wrap(build("llama"), tokenizer)
        fit(lm, FullConfig().build(), random_rows(8), random_rows(8), CONFIG, folder, lr=1e-3, hooks=hooks)
        return hash_parameters(lm.model)

    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER).iterdir())


def stop() -> None:
    raise KeyboardInterrupt


def test_a_checkpoint_that_cannot_be_written_ends_no_training(
    train: Callable[..., str], small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There is room for the best weights and not for moments; the checkpoint before is unharmed and gone on from."""
    ballast, run = small_disk / "ballast", small_disk / "run"

    def fill() -> None:
        weights = sum(path.stat().st_size for path in (run / "model").rglob("*"))
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(free - round(2.5 * weights)))

    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        train(run, At(3, fill), At(7, stop))
    assert caplog.text.count("no checkpoint could be written") == 1
    assert os.strerror(errno.ENOSPC) in caplog.text and "free disk space" in caplog.text
    assert checkpoints(run) == ["step-00000001", "step-00000002"]
    ballast.unlink()
    watch = At(0, stop)
    assert train(run, watch) == train(tmp_path / "whole")
    assert watch.seen[0] == 3


def test_a_disk_without_room_for_the_weights_is_a_clear_error(train: Callable[..., str], small_disk: Path) -> None:
    ballast, run = small_disk / "ballast", small_disk / "run"

    def fill() -> None:
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(free - 2**14))

    with pytest.raises(ResourceError, match=r"model: cannot be written \(No space left.*-> free disk space"):
        train(run, At(3, fill))
    assert checkpoints(run) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.EDQUOT])
def test_whatever_a_disk_refuses_the_training_ends_with_the_same_weights(
    train: Callable[..., str], tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    whole, real = train(tmp_path / "whole"), os.fsync

    def refuse(number: int) -> None:
        if refusing:
            raise OSError(code, os.strerror(code))
        real(number)

    refusing: list[bool] = []
    monkeypatch.setattr(os, "fsync", refuse)
    assert train(tmp_path / "run", At(3, lambda: refusing.append(True)), At(6, refusing.clear)) == whole
    assert f"3 checkpoints of {tmp_path / 'run'} could not be written" in caplog.text
    assert os.strerror(code) in caplog.text


def test_checkpoints_that_are_gone_are_made_anew(train: Callable[..., str], tmp_path: Path) -> None:
    def remove() -> None:
        shutil.rmtree(tmp_path / "run" / FOLDER)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", At(3, remove), At(7, stop))
    assert checkpoints(tmp_path / "run") == ["step-00000005", "step-00000006"]
    assert train(tmp_path / "run") == train(tmp_path / "whole")
