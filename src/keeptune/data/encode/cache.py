"""Rows that are encoded once: kept by content, built in shards by several processes, read through memory maps.

A folder below the cache folder belongs to one encoding. Its name is a hash of everything that the rows depend on: the
caller's key (data, wordings, seed), the tokenizer's files, chat, window, policy, keeptune's version. It holds shards
and, once all of them are there, ``index.json``: the folder counts from then on. Every file appears whole or not at all,
and two processes that build one folder write the same bytes, so the last one wins and nothing is lost. Shards of a
build that was interrupted are used when it is started again.

A shard is one array of little-endian int32 words:

- HEADER words: rows N, rows whose prompt was cut, bytes of the list of dropped rows, words in all;
- N entries of ENTRY words: where the row begins, prompt tokens P, completion tokens C, gaps G, bytes of its id;
- of every row P + C ids, 2 G borders of gaps, and the id as UTF-8, filled up to whole words;
- the dropped rows as JSON, filled up likewise.

The reference is `Encoder.encode_all`: the same rows, dropped rows and errors.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keeptune import __version__
from keeptune.core.errors import ResourceError
from keeptune.core.files import whole, write_whole
from keeptune.core.processes import be_a_worker
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import EncodedSet, Encoder, Overlong
from keeptune.data.examples import Encoded, Rendered
from keeptune.data.storage.lazy import Concat, Lazy

SMALL = 20_000  # rows below which neither files nor processes pay: they are encoded within seconds
SHARDS, SHARD_ROWS = 256, 2048  # at most so many shards, of at least so many rows
INDEX = "index.json"
_FORMAT = 1  # of the files
_HEADER, _ENTRY = 4, 5
_WORD = np.dtype("<i4")

Progress = Callable[[int, int], None]
Words = NDArray[np.int32]


def encoded(
    encoder: Encoder,
    rows: Sequence[Rendered],
    key: Any,
    folder: Path,
    *,
    processes: int | None = None,
    progress: Progress | None = None,
    small: int = SMALL,
) -> EncodedSet:
    """What ``encoder.encode_all(rows)`` gives; of many rows through the cache, made when they are looked at.

    Args:
        rows: looked at only where the cache does not have them; may be made on access.
        key: what the rows depend on beside the encoder (data, wordings, seed), as JSON.
        folder: the cache folder.
        processes: that build; by default as many as there are processors.
        progress: called with (rows done, rows in all).
        small: with fewer rows nothing is kept.

    Raises:
        DataError: a row that cannot be encoded (see `Encoder.encode`), the first one.
        ResourceError: the disk is full or cannot be written.
    """
    if len(rows) < small:
        return encoder.encode_batch(rows)
    place = folder / "encoded" / cache_key(encoder, [key, len(rows)])
    if not _published(place):
        try:
            _build(place, encoder, rows, processes or _processors(), progress)
        except (OSError, ResourceError) as error:  # the latter from `whole`
            told = error.message if isinstance(error, ResourceError) else error.strerror or error
            raise ResourceError(
                f"encoded rows cannot be kept ({told})",
                where=str(place),
                remedy="free disk space there, or name another folder in the variable KEEPTUNE_CACHE; "
                "what is finished is used when you start again",
            ) from error
    return _opened(place)


def cache_key(encoder: Encoder, key: Any) -> str:
    """The name of the folder: a hash of ``key`` and of all that encoding depends on."""
    settings = [encoder.context, encoder.chat, encoder.overlong, sorted(encoder.unembedded)]
    return content_hash([__version__, _FORMAT, tokenizer_digest(encoder.tokenizer), settings, key], length=32)


def tokenizer_digest(tokenizer: Any) -> str:
    """Hex digest of the files that the tokenizer saves, but for the padding that a caller may have switched on."""
    found = []
    with TemporaryDirectory() as name:
        tokenizer.save_pretrained(name)
        for path in sorted(Path(name).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                if path.name == "tokenizer.json":
                    content = json.loads(data) | {"padding": None, "truncation": None}
                    data = json.dumps(content, sort_keys=True).encode()
                found.append((path.name, hashlib.sha256(data).hexdigest()))
    return content_hash([type(tokenizer).__name__, found])


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _build(place: Path, encoder: Encoder, rows: Sequence[Rendered], processes: int, progress: Progress | None) -> None:
    """Make the shards that are missing, then the index."""
    place.mkdir(parents=True, exist_ok=True)
    size = max(SHARD_ROWS, -(-len(rows) // SHARDS))
    starts = range(0, len(rows), size)
    paths = [place / f"{number:03}.bin" for number in range(len(starts))]
    missing = [(start, path) for start, path in zip(starts, paths, strict=True) if not _is_whole(path)]
    done = len(rows) - sum(min(size, len(rows) - start) for start, _ in missing)

    def finished(start: int) -> None:
        nonlocal done
        done += min(size, len(rows) - start)
        if progress is not None:
            progress(done, len(rows))

    if min(processes, len(missing)) > 1:
        try:
            _in_processes(encoder, rows, size, missing, min(processes, len(missing)), finished)
        except BrokenProcessPool:  # no processes to be had here: this one does what is left
            missing = [(start, path) for start, path in missing if not _is_whole(path)]
            _here(encoder, rows, size, missing, finished)
    else:
        _here(encoder, rows, size, missing, finished)
    write_whole(place / INDEX, json.dumps({"shards": [path.name for path in paths]}))


def _here(
    encoder: Encoder,
    rows: Sequence[Rendered],
    size: int,
    missing: Sequence[tuple[int, Path]],
    finished: Callable[[int], None],
) -> None:
    for start, path in missing:
        _write(path, encoder.encode_batch(rows[start : start + size]))
        finished(start)


def _in_processes(
    encoder: Encoder,
    rows: Sequence[Rendered],
    size: int,
    missing: Sequence[tuple[int, Path]],
    processes: int,
    finished: Callable[[int], None],
) -> None:
    """The shards in order; one more than there are processes is rendered ahead. The first error ends it."""
    waiting: deque[tuple[int, Future[None]]] = deque()
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(encoder.tokenizer, encoder.context, encoder.chat, encoder.overlong, encoder.unembedded),
    )

    def take() -> None:
        start, future = waiting.popleft()
        future.result()
        finished(start)

    try:
        for start, path in missing:
            waiting.append((start, pool.submit(_shard, path, rows[start : start + size])))
            if len(waiting) > processes:
                take()
        while waiting:
            take()
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Encoder  # of a process that builds


def _start(tokenizer: Any, context: int, chat: bool, overlong: Any, unembedded: frozenset[int]) -> None:
    global _encoder
    be_a_worker()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # every processor has a process already
    _encoder = Encoder(tokenizer, context=context, chat=chat, overlong=overlong, unembedded=unembedded)


def _shard(path: Path, rows: Sequence[Rendered]) -> None:
    if not _is_whole(path):  # another build may have made it meanwhile
        _write(path, _encoder.encode_batch(rows))


def _write(path: Path, made: EncodedSet) -> None:
    """One shard (see the head of this file).

    Raises:
        ResourceError: it cannot be written; nothing is left of it.
    """
    words: list[int] = []
    entries = np.empty((len(made.rows), _ENTRY), dtype=np.int64)
    start = _HEADER + entries.size
    pieces: list[Words] = []
    for number, row in enumerate(made.rows):
        name = row.id.encode("utf-8", "surrogatepass")
        entries[number] = (
            start + len(words),
            len(row.prompt_ids),
            len(row.completion_ids),
            len(row.gaps),
            len(name),
        )
        words += row.prompt_ids
        words += row.completion_ids
        for gap in row.gaps:
            words += gap
        words += _as_words(name).tolist()
        if len(words) > 1 << 20:  # a list of ints is eight times as large
            pieces.append(np.array(words, dtype=_WORD))
            start += len(words)
            words = []
    pieces.append(np.array(words, dtype=_WORD))
    dropped = json.dumps([asdict(row) for row in made.dropped]).encode()
    pieces.append(_as_words(dropped))
    total = _HEADER + entries.size + sum(map(len, pieces))
    header = np.array([len(entries), made.truncated, len(dropped), total])
    if total >= 1 << 31:
        raise ResourceError("a shard of over two thousand million tokens", remedy="give fewer rows")
    with whole(path) as partial, partial.open("wb") as file:
        for piece in (header.astype(_WORD), entries.astype(_WORD), *pieces):
            file.write(piece.tobytes())


def _as_words(data: bytes) -> Words:
    return np.frombuffer(data + bytes(-len(data) % _WORD.itemsize), dtype=_WORD)


def _is_whole(path: Path) -> bool:
    """Whether the shard is there with all the words that its header promises."""
    try:
        with path.open("rb") as file:
            header = np.frombuffer(file.read(_HEADER * _WORD.itemsize), dtype=_WORD)
        return len(header) == _HEADER and path.stat().st_size == int(header[3]) * _WORD.itemsize
    except OSError:
        return False


def _published(place: Path) -> bool:
    try:
        names = json.loads((place / INDEX).read_text(encoding="utf-8"))["shards"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return all(_is_whole(place / name) for name in names)


def _opened(place: Path) -> EncodedSet:
    names = json.loads((place / INDEX).read_text(encoding="utf-8"))["shards"]
    shards = [Shard(place / name) for name in names]
    dropped = tuple(row for shard in shards for row in shard.dropped)
    return EncodedSet(Concat(shards), dropped, sum(shard.truncated for shard in shards))


class Shard(Lazy[Encoded]):
    """The rows of one shard, each made when it is looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header = np.fromfile(path, dtype=_WORD, count=_HEADER)
        self._rows, self.truncated, self._dropped_bytes, self._total = header.tolist()

    def __len__(self) -> int:
        return int(self._rows)

    @cached_property
    def _words(self) -> Words:
        return np.memmap(self.path, dtype=_WORD, mode="r")

    @property
    def dropped(self) -> list[Overlong]:
        """Rows that do not fit the window."""
        words = -(-self._dropped_bytes // _WORD.itemsize)
        data = np.fromfile(self.path, dtype=_WORD, count=words, offset=(self._total - words) * _WORD.itemsize)
        return [Overlong(**row) for row in json.loads(data.tobytes()[: self._dropped_bytes])]

    def make(self, number: int) -> Encoded:
        """The row as `Encoder.encode` gave it."""
        at = _HEADER + number * _ENTRY
        start, prompt, completion, gaps, name = self._words[at : at + _ENTRY].tolist()
        end = start + prompt + completion + 2 * gaps
        ids = self._words[start:end].tolist()
        borders = ids[prompt + completion :]
        text = self._words[end : end - (-name // _WORD.itemsize)].tobytes()[:name]
        return Encoded(
            text.decode("utf-8", "surrogatepass"),
            tuple(ids[:prompt]),
            tuple(ids[prompt : prompt + completion]),
            tuple(zip(borders[::2], borders[1::2], strict=True)),
        )
