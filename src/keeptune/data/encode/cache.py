"""Rows that are encoded once: kept by content, built in shards by several processes, read through memory maps.

A folder below the cache folder belongs to one encoding. Its name is a hash of everything that the rows depend on: the
caller's key (data, wordings, seed), the tokenizer's files, chat, window, policy, keeptune's version. It holds shards
and, once all of them are there, ``index.json``: the folder counts from then on. Every file appears whole or not at all,
and two processes that build one folder write the same bytes, so the last one wins and nothing is lost. Shards of a
build that was interrupted are used when it is started again.

A shard is an Arrow IPC file of one record batch. Its columns are ``id`` (bytes), ``prompt_ids``, ``completion_ids`` and
``gaps`` (both borders of every gap); the metadata of its schema hold ``truncated``, how many prompts were cut, and
``dropped``, the rows that were left out, as JSON.

The reference is `Encoder.encode_all`: the same rows, dropped rows and errors.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from keeptune import __version__
from keeptune.core.errors import ResourceError
from keeptune.core.files import whole, write_whole
from keeptune.core.processes import be_a_worker, cores
from keeptune.core.units import content_hash
from keeptune.data.encode.encoder import EncodedSet, Encoder
from keeptune.data.encode.window import Overlong
from keeptune.data.examples import Encoded, Rendered
from keeptune.data.storage.arrow import ArrowRows, Column
from keeptune.data.storage.lazy import Concat, Subset

SMALL = 20_000  # rows below which further processes do not pay: they are encoded within seconds
SHARDS, SHARD_ROWS = 256, 2048  # at most so many shards, of at least so many rows
INDEX = "index.json"
_FORMAT = 2  # of the files

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Parts = Mapping[Path, Sequence[Rendered]]  # rows of every shard


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
    """What ``encoder.encode_all(rows)`` gives, through the cache; of many rows each is made when it is looked at.

    Args:
        rows: looked at only where the cache does not have them; may be made on access.
        key: what the rows depend on beside the encoder (data, wordings, seed), as JSON.
        folder: the cache folder.
        processes: that build; by default as many as there are processors.
        progress: called with (rows done, rows in all).
        small: fewer rows are encoded in this process, and stay in memory.

    Raises:
        DataError: a row that cannot be encoded (see `Encoder.encode`), the first one.
        ResourceError: the disk is full or cannot be written.
    """
    few = len(rows) < small
    place = folder / "encoded" / cache_key(encoder, [key, len(rows)])
    try:
        if (found := _published(place)) is not None:
            log.info("%d encoded rows: read from %s", len(rows), place)
        else:
            found = _build(place, encoder, rows, 1 if few else processes or cores(), progress)
    except (OSError, ResourceError) as error:  # the latter from `whole`
        told = error.message if isinstance(error, ResourceError) else error.strerror or error
        raise ResourceError(
            f"encoded rows cannot be kept ({told})",
            where=str(place),
            remedy="free disk space there, or name another folder in the variable KEEPTUNE_CACHE; "
            "what is finished is used when you start again",
        ) from error
    return replace(found, rows=list(found.rows)) if few else found


def cache_key(encoder: Encoder, key: Any) -> str:
    """The name of the folder: a hash of ``key`` and of all that encoding depends on."""
    settings = [encoder.context, encoder.chat, encoder.overlong, sorted(encoder.unembedded), encoder.encoder_decoder]
    return content_hash([__version__, _FORMAT, encoder.tokenizer_digest, settings, key], length=32)


def _build(
    place: Path, encoder: Encoder, rows: Sequence[Rendered], processes: int, progress: Progress | None
) -> EncodedSet:
    """Make the shards that are missing, then the index."""
    place.mkdir(parents=True, exist_ok=True)
    size = max(SHARD_ROWS, -(-len(rows) // SHARDS))
    parts = {
        place / f"{number:03}.arrow": Subset(rows, np.arange(start, min(start + size, len(rows))))
        for number, start in enumerate(range(0, len(rows), size))
    }
    missing = _missing(parts)
    done = len(rows) - sum(map(len, missing.values()))

    def finished(part: Sequence[Rendered]) -> None:
        nonlocal done
        done += len(part)
        if progress is not None:
            progress(done, len(rows))

    if min(processes, len(missing)) > 1:
        with suppress(BrokenProcessPool):  # no processes to be had here: this one does what is left
            _in_processes(encoder, missing, min(processes, len(missing)), finished)
        missing = _missing(missing)
    for path, part in missing.items():
        _write(path, encoder.encode_batch(part))
        finished(part)
    write_whole(place / INDEX, json.dumps({"shards": [path.name for path in parts]}))
    return _joined(parts)


def _missing(parts: Parts) -> Parts:
    return {path: part for path, part in parts.items() if not _is_whole(path)}


def _in_processes(
    encoder: Encoder, parts: Parts, processes: int, finished: Callable[[Sequence[Rendered]], None]
) -> None:
    """The shards in order; one more than there are processes is rendered ahead. The first error ends it."""
    waiting: deque[tuple[Sequence[Rendered], Future[None]]] = deque()
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(encoder.tokenizer, encoder.settings),
    )

    def take() -> None:
        part, future = waiting.popleft()
        future.result()
        finished(part)

    try:
        for path, part in parts.items():
            waiting.append((part, pool.submit(_shard, path, list(part))))
            if len(waiting) > processes:
                take()
        while waiting:
            take()
    finally:
        pool.shutdown(cancel_futures=True)


_encoder: Encoder  # of a process that builds


def _start(tokenizer: Any, settings: dict[str, Any]) -> None:
    global _encoder
    be_a_worker()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # every processor has a process already
    _encoder = Encoder(tokenizer, **settings)


def _shard(path: Path, rows: Sequence[Rendered]) -> None:
    if not _is_whole(path):  # another build may have made it meanwhile
        _write(path, _encoder.encode_batch(rows))


def _write(path: Path, made: EncodedSet) -> None:
    """One shard (see the head of this file).

    Raises:
        ResourceError: it cannot be written; nothing is left of it.
    """
    import pyarrow as pa

    ids = pa.large_list(pa.int32())
    columns = {
        "id": pa.array([row.id.encode("utf-8", "surrogatepass") for row in made.rows], pa.large_binary()),
        "prompt_ids": pa.array([row.prompt_ids for row in made.rows], ids),
        "completion_ids": pa.array([row.completion_ids for row in made.rows], ids),
        "gaps": pa.array([[border for gap in row.gaps for border in gap] for row in made.rows], ids),
    }
    dropped = json.dumps([asdict(row) for row in made.dropped])
    batch = pa.record_batch(columns, metadata={"truncated": str(made.truncated), "dropped": dropped})
    with whole(path) as partial, pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)


def _is_whole(path: Path) -> bool:
    try:
        return bool(Shard(path).file.num_record_batches)
    except (OSError, ValueError):
        return False


def _published(place: Path) -> EncodedSet | None:
    """The rows of a folder that is complete."""
    try:
        paths = [place / name for name in json.loads((place / INDEX).read_text(encoding="utf-8"))["shards"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _joined(paths) if all(map(_is_whole, paths)) else None


def _joined(paths: Iterable[Path]) -> EncodedSet:
    shards = [Shard(path) for path in paths]
    told = [shard.file.schema.metadata for shard in shards]
    dropped = tuple(Overlong(**row) for each in told for row in json.loads(each[b"dropped"]))
    return EncodedSet(Concat(shards), dropped, sum(int(each[b"truncated"]) for each in told))


class Shard(ArrowRows[Encoded]):
    """The rows of one shard, each made when it is looked at."""

    @override
    def of_columns(self, columns: Sequence[Column], number: int) -> Encoded:
        name, prompt, completion, gaps = (column(number) for column in columns)
        return Encoded(
            str(name, "utf-8", "surrogatepass"),
            tuple(prompt),
            tuple(completion),
            tuple(zip(gaps[::2], gaps[1::2], strict=True)),
        )
