"""Items of which many lie on disk."""

from __future__ import annotations

import multiprocessing
import pickle
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from keeptune.data.storage import spill
from keeptune.data.storage.spill import Spill


@pytest.fixture(params=[1, 7, 1000])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_BATCH", request.param)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("batch")
def test_items_come_back_whatever_their_length() -> None:
    rng = random.Random(0)
    expected = ["é\n" * rng.choice((0, 1, 7, 100)) + str(i) + "\ud800" * (i % 2) for i in range(60)]
    growing: Spill[str] = Spill(in_memory=10)
    for number, text in enumerate(expected):
        growing.append(text)
        assert len(growing) == number + 1
    texts = growing.finish()
    assert list(texts) == expected and len(texts) == 60
    assert [texts[i] for i in (0, 9, 10, 59, -1)] == [expected[i] for i in (0, 9, 10, 59, -1)]
    assert texts[8:12] == expected[8:12]
    with pytest.raises(IndexError):
        texts[60]


def test_few_items_are_a_list(folder: Path) -> None:
    assert Spill([1, 2], in_memory=2).finish() == [1, 2] and not [*folder.iterdir()]


def total(items: Sequence[int]) -> int:
    return sum(items)


def test_other_processes_map_the_same_file(folder: Path) -> None:
    numbers = Spill(range(10_000), in_memory=10).finish()
    assert sum(numbers) == sum(range(10_000))  # mapped by now
    (file,) = folder.iterdir()
    assert len(pickle.dumps(numbers)) < 500
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(total, numbers).result() == sum(range(10_000))
    assert file.exists() and numbers[9_999] == 9_999


def test_the_file_is_gone_with_the_rows(folder: Path) -> None:
    numbers = Spill(range(20), in_memory=10).finish()
    sent = pickle.loads(pickle.dumps(numbers))
    assert list(sent) == list(range(20))
    del numbers
    assert not [*folder.iterdir()]
    assert list(sent) == list(range(20))  # who has mapped it keeps it


def test_the_file_of_an_interrupted_reading_is_gone(folder: Path) -> None:
    growing = Spill(range(20), in_memory=10)
    assert [*folder.iterdir()]
    del growing
    assert not [*folder.iterdir()]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux what is mapped")
def test_a_file_that_is_read_through_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_BATCH", 1)

    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))

    items = Spill((bytes(1 << 20) for _ in range(64)), in_memory=0).finish()
    before = mapped()
    most = max(mapped() - before for _ in items)
    assert most < 24 << 20
