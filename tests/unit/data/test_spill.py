"""Texts whose later ones lie on disk."""

from __future__ import annotations

import pickle
import random

import pytest

from keeptune.data.storage import spill
from keeptune.data.storage.spill import Texts


@pytest.fixture(params=[1, 64, 1 << 20])
def buffer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "_BUFFER", request.param)


@pytest.mark.usefixtures("buffer")
def test_texts_come_back_whatever_their_length() -> None:
    rng = random.Random(0)
    expected = ["é\n" * rng.choice((0, 1, 7, 100)) + str(i) + "\ud800" * (i % 2) for i in range(60)]
    texts = Texts(in_memory=10)
    for text in expected:
        texts.append(text)
        assert texts[-1] == text
    assert list(texts) == expected and len(texts) == 60
    assert [texts[i] for i in (0, 9, 10, 59, -1)] == [expected[i] for i in (0, 9, 10, 59, -1)]
    assert texts[8:12] == expected[8:12]
    with pytest.raises(IndexError):
        texts[60]
    some = texts.only([3, 9, 10, 40])
    assert list(some) == [some[i] for i in range(4)] == [expected[i] for i in (3, 9, 10, 40)]


@pytest.mark.usefixtures("buffer")
def test_what_lies_on_disk_can_be_sent_to_other_processes() -> None:
    texts = Texts([str(i) + "\ud800" * (i % 2) for i in range(60)], in_memory=10)
    again = pickle.loads(pickle.dumps(texts))
    assert isinstance(again, Texts)
    texts.append("more")
    assert list(again) == list(texts)[:60]
