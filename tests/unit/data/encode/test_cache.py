"""Rows out of the cache are the rows that `encode_all` gives, however often and by whom they were built."""

from __future__ import annotations

import errno
import json
import multiprocessing
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeptune.core.errors import DataError, ResourceError
from keeptune.data.encode import cache as encoded_cache
from keeptune.data.encode.cache import INDEX, SHARD_ROWS, cache_key, encoded
from keeptune.data.encode.encoder import EncodedSet, Encoder
from keeptune.data.encode.tokenizer import tokenizer_digest
from keeptune.data.encode.window import OverlongPolicy
from keeptune.data.examples import Conversation, Rendered, Segments, Tokens

WORDS = ("add", "small", "house", "grün", "漢", "it's", "\n", " ", "12", "😀")
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
answers = texts.filter(str.strip).map(lambda text: " " + text.strip())


@st.composite
def turns(draw: st.DrawFn) -> Conversation:
    pairs = draw(st.lists(st.tuples(answers, answers, st.booleans()), min_size=1, max_size=3))
    last = len(pairs) - 1
    talk: list[dict[str, Any]] = []
    for number, (asked, said, trained) in enumerate(pairs):
        talk.append({"role": "user", "content": asked.strip(), "trained": False})
        talk.append({"role": "assistant", "content": said.strip(), "trained": trained or number == last})
    return Conversation(tuple(talk), len(talk) - 1)


@st.composite
def segments(draw: st.DrawFn) -> Segments:
    pieces = draw(st.lists(st.tuples(answers, st.booleans()), max_size=4))
    return Segments((*pieces, (draw(answers), True)))


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    ids = draw(st.lists(st.integers(3, 250), min_size=1, max_size=20))
    mask = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    return Tokens((*ids, 2), (*mask, True))  # </s>


@st.composite
def rendered(draw: st.DrawFn) -> Rendered:
    whole = draw(st.none() | turns() | segments() | tokens())
    system = draw(st.none() | texts)
    return Rendered(
        draw(st.text(max_size=6)), "c", draw(texts), said := draw(answers), (said,), system=system, whole=whole
    )


def plain(n: int) -> list[Rendered]:
    return [Rendered(f"r{i}", "c", f"add {i}:", f" {i + 1}", (f" {i + 1}",), path="d.jsonl", line=i) for i in range(n)]


def whole_set(found: EncodedSet) -> tuple[Any, ...]:
    return tuple(found.rows), found.dropped, found.truncated


@pytest.fixture
def encoder(tokenizer: Any) -> Encoder:
    return Encoder(tokenizer, context=40)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_cache, "SHARD_ROWS", 4)


def cached(encoder: Encoder, rows: Sequence[Rendered], folder: Path, **more: Any) -> EncodedSet:
    return encoded(encoder, rows, "key", folder, **{"processes": 1, "small": 0, **more})


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(rendered(), max_size=11), policy=st.sampled_from(["drop", "truncate_prompt"]))
def test_equals_encode_all(tokenizer: Any, rows: list[Rendered], policy: OverlongPolicy) -> None:
    encoder = Encoder(tokenizer, context=40, overlong=policy)
    expected = encoder.encode_all(rows)
    assert whole_set(encoder.encode_batch(rows)) == whole_set(expected)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoded_cache, "SHARD_ROWS", 3)
        for _ in range(2):
            found = cached(encoder, rows, Path(folder))
            assert whole_set(found) == whole_set(expected)
    kept = list(expected.rows)
    assert len(found.rows) == len(kept) and found.rows[1:] == kept[1:] and found.rows[-1:] == kept[-1:]


def test_rows_are_sent_to_other_processes_as_a_path(encoder: Encoder, tmp_path: Path) -> None:
    found = cached(encoder, plain(200), tmp_path)
    assert list(found.rows) == list(encoder.encode_all(plain(200)).rows)  # the file is mapped by now
    sent = pickle.dumps(found)
    assert len(sent) < 2_000 and whole_set(pickle.loads(sent)) == whole_set(found)


def test_the_file_can_be_read_by_others(encoder: Encoder, tmp_path: Path) -> None:
    (row,) = cached(encoder, plain(1), tmp_path).rows
    with pa.ipc.open_file(next(tmp_path.rglob("*.arrow"))) as file:
        (read,) = file.read_all().to_pylist()
    expected = {"id": b"r0", "prompt_ids": list(row.prompt_ids), "completion_ids": list(row.completion_ids), "gaps": []}
    assert read == expected


class Unread(Sequence[Rendered]):
    """Rows that may be counted; the first ``readable`` may be looked at."""

    def __init__(self, n: int, readable: int = 0) -> None:
        self.rows, self.readable, self.read = plain(n), readable, set[int]()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        places = range(*index.indices(len(self))) if isinstance(index, slice) else range(index, index + 1)
        if places.stop > self.readable:
            raise KeyboardInterrupt
        self.read.update(places)
        return self.rows[index]


def test_few_rows_are_encoded_once_as_well(encoder: Encoder, tmp_path: Path) -> None:
    expected = encoder.encode_all(plain(5))
    for rows in (plain(5), Unread(5)):
        found = encoded(encoder, rows, "key", tmp_path)
        assert found.rows == list(expected.rows) and whole_set(found) == whole_set(expected)


@pytest.mark.usefixtures("small_shards")
def test_encoded_once(encoder: Encoder, tmp_path: Path) -> None:
    expected = cached(encoder, plain(10), tmp_path)
    assert whole_set(cached(encoder, Unread(10), tmp_path)) == whole_set(expected)


@pytest.mark.usefixtures("small_shards")
def test_what_an_interrupted_build_finished_is_used(encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached(encoder, Unread(18, readable=9), tmp_path)
    (folder,) = (tmp_path / "encoded").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["000.arrow", "001.arrow"]
    seen: list[tuple[int, int]] = []
    rows = Unread(18, readable=18)
    found = cached(encoder, rows, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert rows.read == set(range(8, 18)) and seen == [(12, 18), (16, 18), (18, 18)]
    assert whole_set(found) == whole_set(encoder.encode_all(plain(18)))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: data[:99], lambda data: b"", None])
def test_a_shard_that_is_damaged_is_made_again(encoder: Encoder, tmp_path: Path, damage: Any) -> None:
    expected = whole_set(cached(encoder, plain(10), tmp_path))
    path = next((tmp_path / "encoded").rglob("001.arrow"))
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    assert whole_set(cached(encoder, plain(10), tmp_path)) == expected


@pytest.mark.usefixtures("small_shards")
def test_a_full_disk(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(path: Path) -> Iterator[Path]:
        yield Path("/dev/full")

    monkeypatch.setattr(encoded_cache, "whole", full)
    with pytest.raises(ResourceError, match=r"No space left.*KEEPTUNE_CACHE") as error:
        cached(encoder, plain(10), tmp_path)
    assert error.value.where is not None and error.value.where.startswith(str(tmp_path))
    assert not [*tmp_path.rglob(INDEX)]
    monkeypatch.undo()
    assert whole_set(cached(encoder, plain(10), tmp_path)) == whole_set(encoder.encode_all(plain(10)))


@pytest.mark.usefixtures("small_shards")
def test_a_disk_that_is_full_when_a_shard_gets_its_name(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ResourceError, match=r"No space left.*KEEPTUNE_CACHE") as error:
        cached(encoder, plain(10), tmp_path)
    assert error.value.where is not None and error.value.where.startswith(str(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_name_says_everything_that_rows_depend_on(tokenizer: Any, encoder: Encoder) -> None:
    def changed(**settings: Any) -> Encoder:
        return Encoder(tokenizer, **{"context": 40, **settings})

    names = [
        cache_key(encoder, "key"),
        cache_key(encoder, "another key"),
        cache_key(changed(context=41), "key"),
        cache_key(changed(overlong="truncate_prompt"), "key"),
    ]
    assert len(set(names)) == len(names)
    assert cache_key(changed(), "key") == names[0]
    digest = tokenizer_digest(tokenizer)
    tokenizer(["a", "a longer text"], padding=True)  # leaves the padding switched on
    assert tokenizer_digest(tokenizer) == digest
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        path = Path(folder) / "tokenizer.json"
        content = json.loads(path.read_text())
        content["pre_tokenizer"]["add_prefix_space"] = True
        path.write_text(json.dumps(content))
        assert tokenizer_digest(type(tokenizer).from_pretrained(folder)) != digest


def build(tokenizer: Any, folder: Path, processes: int, rows: list[Rendered]) -> Any:
    found = encoded(Encoder(tokenizer, context=40), rows, "key", folder, processes=processes, small=0)
    return whole_set(found)


@pytest.mark.slow
def test_two_builds_at_once(tokenizer: Any, encoder: Encoder, tmp_path: Path) -> None:
    rows = plain(3 * SHARD_ROWS)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [pool.submit(build, tokenizer, tmp_path, 1, rows) for _ in range(2)]
        expected = whole_set(encoder.encode_all(rows))
        assert [each.result() for each in found] == [expected] * 2
    (folder,) = (tmp_path / "encoded").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["000.arrow", "001.arrow", "002.arrow", INDEX]


@pytest.mark.slow
def test_several_processes(tokenizer: Any, encoder: Encoder, tmp_path: Path) -> None:
    rows = plain(3 * SHARD_ROWS)
    wrong = replace(rows[2 * SHARD_ROWS], completion="  ")
    spoiled = [*rows[: 2 * SHARD_ROWS], wrong, *rows[2 * SHARD_ROWS + 1 :]]
    with pytest.raises(DataError, match="empty completion") as error:
        build(tokenizer, tmp_path, 2, spoiled)
    assert (error.value.path, error.value.line) == ("d.jsonl", 2 * SHARD_ROWS)
    assert not [*tmp_path.rglob(INDEX)]
    assert build(tokenizer, tmp_path, 2, rows) == whole_set(encoder.encode_all(rows))
