"""A copy of a run folder in storage that fsspec reaches (a folder, s3, gs), from which a study can go on elsewhere.

The study itself works in its run folder. What changed there is copied whenever a job is done, by one thread beside the
work, oldest files first: a record is the last thing that a job writes, so that where it is there is all that it speaks
of. Temporary files, links and what `EXCLUDED` names are not copied.

Run folders on several machines may take turns. The storage names the one that wrote there last, so that one which comes
back takes over what changed meanwhile: a record from there beside weights from here would be about other weights.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from keeptune.core.errors import ConfigError, DataError, ResourceError, RunFolderError
from keeptune.core.lock import FILE as LOCK
from keeptune.core.records import Record, read_json, write_json
from keeptune.recipe.begun import held
from keeptune.recipe.config import StudyConfig
from keeptune.study.jobs.base import Job
from keeptune.study.schedule.runner import Runner, Schedule

FILE = "mirror.json"
OWNER = "mirror-owner.txt"  # in the storage: the run folder that wrote there last
EXCLUDED = {FILE, OWNER, LOCK, "cache", "tmp"}  # this machine's alone, or can be made again

Stamp = tuple[int, int]  # bytes, and nanoseconds when last changed


class MirrorRecord(Record):
    """mirror.json: what a storage holds of the run folder beside it."""

    url: str
    files: dict[str, Stamp]  # as the files in the run folder were when they were copied
    owner: str = ""  # what the storage calls this run folder


class Mirror:
    """Keeps a copy of a run folder; a context manager that ends with a complete one.

    Args:
        folder: of the run.
        url: where the copy is, as fsspec writes it: "s3://bucket/orders".
        warn: told of a copy that failed; it is tried again after the next job.

    Raises:
        ConfigError: no such kind of storage, or its package is not installed.

    Example:
        >>> with Mirror(Path("runs/orders"), "s3://bucket/orders", warn=print) as mirror:
        ...     mirror.fetch()  # on a new machine: what was done elsewhere
        ...     mirror.update()  # whenever a job is done
    """

    def __init__(self, folder: Path, url: str, warn: Callable[[str], None]) -> None:
        self.folder, self.url, self._warn = folder, url, warn
        self._storage, self._root = _storage(url)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mirror")
        self._copying: Future[None] | None = None
        self._owner = self._record().owner or uuid.uuid4().hex
        self._claimed = False  # the storage names this run folder

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Copy what is left.

        Raises:
            ResourceError: that failed; the run folder is complete. After an error it is a warning.
        """
        self._thread.shutdown(wait=True)
        try:
            self.copy()
        except ResourceError as failed:
            if error is None:
                raise
            self._warn(f"mirror: {failed}")

    def fetch(self) -> int:
        """Copy to the run folder what the storage has and the folder never had; returns the number of files.

        Where another run folder wrote there since, all of it, and what that one removed is removed here.

        Raises:
            ResourceError: the storage cannot be read.
            RunFolderError: both hold results, and neither is a copy of the other.
        """
        with self._reaching():
            self._storage.invalidate_cache()
            there = self._storage.find(self._root) if self._storage.exists(self._root) else []
            names = [path[len(self._root) :].lstrip("/") for path in there]
            owner = self._storage.cat_file(f"{self._root}/{OWNER}").decode() if OWNER in names else self._owner
        names, copied = [name for name in names if name != OWNER], self._copied()
        if names and not copied and held(self.folder):
            raise RunFolderError(
                f"holds a run, and so does {self.url}",
                where=str(self.folder),
                remedy="name another --mirror, or another --out to go on with what the mirror holds",
            )
        behind = bool(copied) and owner != self._owner
        missing = [name for name in names if behind or (name not in copied and not (self.folder / name).exists())]
        try:
            for name in copied.keys() - set(names) if behind else ():
                (self.folder / name).unlink(missing_ok=True)
                del copied[name]
            for name in missing:
                copied[name] = self._get(name)
        finally:
            if missing or behind:
                self._write(copied)
        if missing or behind:
            self._claim()
        return len(missing)

    def update(self) -> None:
        """Copy what changed, beside the work; where that is still being done, nothing: the next call will."""
        if self._copying is not None:
            if not self._copying.done():
                return
            if (error := self._copying.exception()) is not None:
                self._warn(f"mirror: {error}")
        self._copying = self._thread.submit(self.copy)

    def copy(self) -> None:
        """Make the storage hold what the run folder holds now.

        Raises:
            ResourceError: it cannot be written.
        """
        here, copied = dict(self._local()), self._copied()
        changed = sorted((name for name in here if copied.get(name) != here[name]), key=lambda name: here[name][1])
        gone = [name for name in copied if name not in here]
        if changed or gone:
            self._claim()
        try:
            for name in changed:
                if self._put(name):
                    copied[name] = here[name]
            for name in gone:
                with self._reaching(), suppress(FileNotFoundError):
                    self._storage.rm_file(f"{self._root}/{name}")
                del copied[name]
        finally:
            if changed or gone:
                self._write(copied)

    def _get(self, name: str) -> Stamp:
        local = self.folder / name
        if not local.resolve().is_relative_to(self.folder.resolve()):
            raise ResourceError(f"holds a file outside of the run: {name}", where=self.url)
        partial = local.with_name(f"{local.name}.partial")
        local.parent.mkdir(parents=True, exist_ok=True)
        with self._reaching():
            self._storage.get_file(f"{self._root}/{name}", str(partial))
        partial.replace(local)
        return _stamp(local)

    def _put(self, name: str) -> bool:
        """Copy a file; False where it was removed meanwhile."""
        local, target = self.folder / name, f"{self._root}/{name}"
        with self._reaching():
            try:
                self._storage.makedirs(target.rpartition("/")[0], exist_ok=True)
                self._storage.put_file(str(local), target)
            except FileNotFoundError:
                if local.exists():  # it is the storage that has no such place
                    raise
                return False
        return True

    def _claim(self) -> None:
        """Have the storage name this run folder."""
        if self._claimed:
            return
        with self._reaching():
            self._storage.makedirs(self._root, exist_ok=True)
            self._storage.pipe_file(f"{self._root}/{OWNER}", self._owner.encode())
        self._claimed = True

    def _record(self) -> MirrorRecord:
        """What is known of the storage; nothing where the folder was never copied there."""
        nothing = MirrorRecord(url=self.url, files={})
        try:
            record = read_json(self.folder / FILE, MirrorRecord)
        except DataError:
            return nothing
        return record if record.url == self.url else nothing

    def _copied(self) -> dict[str, Stamp]:
        return dict(self._record().files)

    def _write(self, copied: dict[str, Stamp]) -> None:
        write_json(self.folder / FILE, MirrorRecord(url=self.url, files=copied, owner=self._owner))

    def _local(self) -> Iterator[tuple[str, Stamp]]:
        for place, folders, names in os.walk(self.folder):
            excluded = EXCLUDED if Path(place) == self.folder else set()
            folders[:] = [name for name in folders if name not in excluded and not name.endswith(".partial")]
            names = [name for name in names if name not in excluded and not name.endswith(".partial")]
            for file in (Path(place) / name for name in names):
                with suppress(FileNotFoundError):  # removed meanwhile
                    if not file.is_symlink():
                        yield file.relative_to(self.folder).as_posix(), _stamp(file)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Within, the storage is asked; every storage has errors of its own."""
        try:
            yield
        except Exception as error:
            raise ResourceError(
                f"cannot be reached ({type(error).__name__}: {error})",
                where=self.url,
                remedy="see whether it exists and you may write to it; the run folder has everything",
            ) from error


class Mirrored:
    """A runner after each of whose jobs a mirror is brought up to date."""

    def __init__(self, runner: Runner, mirror: Mirror) -> None:
        self.workers, self.threads, self.sharing = runner.workers, runner.threads, runner.sharing
        self._runner, self._mirror = runner, mirror

    def run(self, jobs: Sequence[Job], schedule: Schedule) -> None:
        """As the runner does."""
        self._runner.run(jobs, _Watched(schedule, self._mirror))

    def close(self) -> None:
        """Nothing more is to be done; the mirror has its own end."""
        self._runner.close()


class _Watched:
    """A schedule that tells a mirror what was done."""

    def __init__(self, schedule: Schedule, mirror: Mirror) -> None:
        self._schedule, self._mirror = schedule, mirror
        self.order, self.wants, self.search_ended = schedule.order, schedule.wants, schedule.search_ended

    @property
    def recipe(self) -> StudyConfig:
        return self._schedule.recipe

    def did(self, job: Job, newly_done: bool) -> None:
        self._schedule.did(job, newly_done)
        self._mirror.update()


def _storage(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path on it without a slash at its end."""
    from fsspec.core import url_to_fs

    try:
        storage, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            str(error), where="--mirror", remedy="for s3:// pip install s3fs, for gs:// gcsfs; a folder needs neither"
        ) from error
    return storage, str(root).rstrip("/")


def _stamp(file: Path) -> Stamp:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
