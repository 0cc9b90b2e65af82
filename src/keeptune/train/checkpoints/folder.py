"""One checkpoint: a folder that is whole and undamaged, or is not believed.

step-00000120/
  state.json            what the parts of the training remember
  state-0.safetensors   and their tensors, in as many files as it takes
  steps.jsonl …         records as they were, copied
  model/ or adapter/    the best weights so far, linked: they are never changed in place
  manifest.json         size and SHA-256 of every other file, and of itself
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from keeptune.core.files import sha256_of, sync
from keeptune.core.records import Record

MANIFEST, STATE = "manifest.json", "state.json"
SHARD = 2**26  # bytes of tensors in a file, which is made in memory
VERSION = 1

Values = dict[str, dict[str, Any]]  # part -> what it remembers, as JSON
Tensors = dict[str, dict[str, Tensor]]  # part -> its tensors


class FileRecord(Record):
    """A file of a checkpoint."""

    size: int
    sha256: str


class CheckpointManifest(Record):
    """manifest.json of a checkpoint: the last file that is written."""

    version: int = VERSION
    key: str  # content hash of everything that decides how the training goes on
    step: int
    files: dict[str, FileRecord]  # by their path in the folder
    sha256: str = ""  # of this record without it

    def text(self) -> bytes:
        """The file, with the right hash."""
        hashed = sha256(_json(self.model_dump(exclude={"sha256"}))).hexdigest()
        return _json(self.model_copy(update={"sha256": hashed}).model_dump())


@dataclass(frozen=True)
class State:
    """What the parts of a training remember between two steps."""

    values: Values
    tensors: Tensors


class Unusable(Exception):
    """Why a checkpoint cannot be gone on from."""


class Foreign(Unusable):
    """It is a good one, of another training."""


class CheckpointFolder:
    """Writes and reads checkpoints; remembers the hashes of files that it has seen, which are never changed in place.

    Args:
        key: of the training.
        run: the training's folder.
        kept: names in it that belong to a checkpoint: files, which are copied, and folders, which are linked.
    """

    def __init__(self, key: str, run: Path, kept: tuple[str, ...]) -> None:
        self.key, self.run, self.kept = key, run, kept
        self._hashes: dict[tuple[int, int, int], str] = {}  # by inode, size and time of change

    def write(self, place: Path, step: int, state: State) -> None:
        """Write a checkpoint to ``place``: beside it first, forced to the disk, then renamed.

        Raises:
            OSError: it cannot be written; nothing is left of it, and what was there before is untouched.
        """
        partial = place.with_name(f"{place.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            files = {name: self._put(partial / name, data) for name, data in _contents(state)}
            for name in self.kept:
                files |= self._take(self.run / name, partial)
            self._put(partial / MANIFEST, CheckpointManifest(key=self.key, step=step, files=files).text())
            for folder in (partial, *(each for each in partial.rglob("*") if each.is_dir())):
                sync(folder)
            partial.rename(place)
            sync(place.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def read(self, place: Path) -> State:
        """The state of a checkpoint of which every byte is as it was written.

        Raises:
            Foreign: it belongs to another training.
            Unusable: something is damaged, or missing.
        """
        try:
            return self._read(place)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:  # no JSON, no record, no tensors
            raise Unusable(str(error).partition("\n")[0] or type(error).__name__) from error

    def restore(self, place: Path) -> None:
        """Put the run's own files back to what they were at a checkpoint that was read."""
        for name in self.kept:
            target, source = self.run / name, place / name
            if source.is_dir():
                shutil.rmtree(target, ignore_errors=True)
                for file in _files(source):
                    (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                    _link(file, target / file.relative_to(source))
            elif source.is_file():
                shutil.copyfile(source, target)
            elif target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def _read(self, place: Path) -> State:
        written = (place / MANIFEST).read_bytes()
        manifest = CheckpointManifest.model_validate_json(written)
        if manifest.text() != written:
            raise Unusable(f"{MANIFEST} is damaged")
        if (manifest.version, manifest.key) != (VERSION, self.key):
            raise Foreign("it belongs to another training")
        tensors: Tensors = {}
        values: Values = {}
        for name, record in manifest.files.items():
            if name.endswith(".safetensors") and "/" not in name:
                for key, tensor in safetensors.torch.load(_checked(place / name, record)).items():
                    part, _, own = key.partition("/")
                    tensors.setdefault(part, {})[own] = tensor
            elif name == STATE:
                values = json.loads(_checked(place / name, record))
            elif (place / name).stat().st_size != record.size or sha256_of(place / name) != record.sha256:
                raise Unusable(f"{name} is damaged")
        return State(values, tensors)

    def _put(self, path: Path, data: bytes) -> FileRecord:
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return FileRecord(size=len(data), sha256=sha256(data).hexdigest())

    def _take(self, source: Path, partial: Path) -> dict[str, FileRecord]:
        """A file or a folder of the run, in the checkpoint; nothing where there is none yet."""
        if source.is_file():
            return {source.name: self._put(partial / source.name, source.read_bytes())}
        taken = {}
        for file in _files(source):
            name = str(file.relative_to(self.run))
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            _link(file, partial / name)
            taken[name] = self._known(partial / name)
        return taken

    def _known(self, path: Path) -> FileRecord:
        """Of a file that is never changed in place."""
        found = path.stat()
        identity = (found.st_ino, found.st_size, found.st_mtime_ns)
        if identity not in self._hashes:
            sync(path)
            self._hashes[identity] = sha256_of(path)
        return FileRecord(size=found.st_size, sha256=self._hashes[identity])


def _contents(state: State) -> Iterator[tuple[str, bytes]]:
    """The files of a state, one after the other."""
    yield STATE, _json(state.values)
    shard: dict[str, Tensor] = {}
    number = size = 0
    for part, tensors in state.tensors.items():
        for name, tensor in tensors.items():
            if shard and size + tensor.nbytes > SHARD:
                yield f"state-{number}.safetensors", safetensors.torch.save(shard)
                shard, number, size = {}, number + 1, 0
            shard[f"{part}/{name}"] = tensor.detach().cpu().contiguous()
            size += tensor.nbytes
    yield f"state-{number}.safetensors", safetensors.torch.save(shard)


def _checked(path: Path, record: FileRecord) -> bytes:
    data = path.read_bytes()
    if len(data) != record.size or sha256(data).hexdigest() != record.sha256:
        raise Unusable(f"{path.name} is damaged")
    return data


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
