"""A mirror holds what the run folder holds, whatever happens on the way, and gives it back elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from keeptune.core.errors import ConfigError, ResourceError, RunFolderError
from keeptune.study.mirror import OWNER, Mirror, Mirrored
from keeptune.study.schedule.runner import Everything, InProcess

Found = Callable[[], dict[str, str]]


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Found]]:
    """A URL, and what lies there."""
    url = f"{request.param}://{'' if request.param == 'memory' else tmp_path}/mirror/orders"
    system, root = fsspec.url_to_fs(url)

    def found() -> dict[str, str]:
        files = {path[len(root) :].lstrip("/"): system.cat_file(path).decode() for path in system.find(root)}
        return {name: text for name, text in files.items() if name != OWNER}

    yield url, found
    if request.param == "memory":
        system.store.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write(folder, {"recipe.json": "recipe", "arms/lora/trial.json": "trial", "arms/lora/adapter/weights": "weights"})
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def held(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != "mirror.json")
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


def mirror_of(folder: Path, url: str) -> Mirror:
    return Mirror(folder, url, warn=lambda line: pytest.fail(line))


def test_what_changes_is_copied_and_what_goes_is_removed(folder: Path, storage: tuple[str, Found]) -> None:
    url, found = storage
    with mirror_of(folder, url) as mirror:
        mirror.copy()
        assert found() == held(folder)
        write(folder, {"arms/lora/trial.json": "again", "report.html": "page"})
        (folder / "arms/lora/adapter/weights").unlink()
    assert found() == held(folder) == {"recipe.json": "recipe", "arms/lora/trial.json": "again", "report.html": "page"}


def test_a_run_goes_on_where_only_the_mirror_is(folder: Path, storage: tuple[str, Found], tmp_path: Path) -> None:
    url, found = storage
    with mirror_of(folder, url) as mirror:
        assert mirror.fetch() == 0
    with mirror_of(tmp_path / "other", url) as mirror:
        assert mirror.fetch() == 3
        assert held(tmp_path / "other") == held(folder)
        assert mirror.fetch() == 0
        (tmp_path / "other/arms/lora/adapter/weights").unlink()
        assert mirror.fetch() == 0  # what was removed here does not come back
        write(tmp_path / "other", {"summary.json": "done"})
    assert found() == held(tmp_path / "other")
    with mirror_of(folder, url) as mirror:
        assert mirror.fetch() == 3 and held(folder) == held(tmp_path / "other")  # what was removed there goes here, too
        assert mirror.fetch() == 0


def test_a_machine_that_comes_back_has_the_weights_that_its_records_are_about(
    folder: Path, storage: tuple[str, Found], tmp_path: Path
) -> None:
    """A training that was interrupted here was finished elsewhere: its record comes with its weights."""
    (folder / "arms/lora/trial.json").unlink()
    with mirror_of(folder, storage[0]):
        pass
    with mirror_of(tmp_path / "other", storage[0]) as mirror:
        mirror.fetch()
        write(tmp_path / "other", {"arms/lora/adapter/weights": "WEIGHTS", "arms/lora/trial.json": "trial"})
    with mirror_of(folder, storage[0]) as mirror:
        mirror.fetch()
        assert held(folder)["arms/lora/adapter/weights"] == "WEIGHTS"


def test_nothing_is_copied_twice(folder: Path, storage: tuple[str, Found], monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror_of(folder, storage[0]) as mirror:
        mirror.copy()
        put: list[str] = []
        monkeypatch.setattr(mirror, "_put", lambda name: put.append(name) or True)
        mirror.copy()
        assert put == []
        os.utime(folder / "recipe.json", ns=(1, 1))
        write(folder, {"arms/lora/arm.json": "arm"})
        mirror.copy()
        assert put == ["recipe.json", "arms/lora/arm.json"]  # the oldest first


def test_temporary_files_links_and_caches_stay_here(folder: Path, storage: tuple[str, Found]) -> None:
    before = held(folder)
    write(folder, {"cache/x": "x", "tmp/x": "x", "lock": "me", "arms/a.json.12.partial": "{", "arms/b.partial/x": "x"})
    (folder / "tuned").symlink_to("arms/lora/adapter", target_is_directory=True)
    with mirror_of(folder, storage[0]):
        pass
    assert storage[1]() == before


def test_a_folder_with_another_run_is_not_mixed_with_the_mirrors(
    folder: Path, storage: tuple[str, Found], tmp_path: Path
) -> None:
    with mirror_of(folder, storage[0]):
        pass
    write(tmp_path / "other", {"arms/full/trial.json": "mine"})
    with pytest.raises(RunFolderError, match="holds a run, and so does"):
        mirror_of(tmp_path / "other", storage[0]).fetch()
    assert held(tmp_path / "other") == {"arms/full/trial.json": "mine"}


def test_names_of_a_storage_cannot_leave_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = mirror_of(folder, "memory://evil")
    monkeypatch.setattr(mirror._storage, "exists", lambda path: True, raising=False)
    monkeypatch.setattr(mirror._storage, "find", lambda path: [f"{mirror._root}/../../.bashrc"], raising=False)
    (folder / "arms/lora/trial.json").unlink()
    for place in ("arms/lora/adapter/weights", "recipe.json"):
        (folder / place).unlink()
    (folder / "arms/lora/adapter").rmdir()
    (folder / "arms/lora").rmdir()
    (folder / "arms").rmdir()
    with pytest.raises(ResourceError, match=r"outside of the run: \.\./\.\./\.bashrc"):
        mirror.fetch()


def test_a_storage_that_fails_is_told_of_and_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    mirror = Mirror(folder, "memory://shaky", warn=said.append)

    def fails(*given: Any) -> None:
        raise PermissionError("the key has expired")

    with monkeypatch.context() as patch:
        patch.setattr(type(mirror._storage), "put_file", fails)
        mirror.update()
        assert mirror._copying is not None
        assert isinstance(mirror._copying.exception(), ResourceError)
        mirror.update()
        with pytest.raises(ResourceError, match=r"memory://shaky: cannot be reached \(PermissionError: the key"):
            mirror.__exit__(None, None, None)
        mirror.__exit__(None, KeyboardInterrupt(), None)  # an error of the study goes before
    assert said == 2 * [f"mirror: {mirror._copying.exception()}"] and "the key has expired" in said[0]
    mirror.copy()
    assert {path.rpartition("/")[2] for path in mirror._storage.find("/shaky")} == {
        *("recipe.json", "trial.json", "weights"),
        OWNER,
    }


@pytest.mark.parametrize(("url", "says"), [("nosuch://x", "nosuch"), ("gs://bucket/x", "gcsfs")])
def test_storages_that_are_not_there_are_refused(url: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        mirror_of(tmp_path, url)
    assert caught.value.where == "--mirror"


def test_the_mirror_follows_every_job(folder: Path, storage: tuple[str, Found]) -> None:
    class Writes:
        name = "writes"

        def perform(self, workplace: None) -> bool:
            write(folder, {"arms/full/trial.json": "new"})
            return True

    with mirror_of(folder, storage[0]) as mirror:
        runner = Mirrored(InProcess(None), mirror)  # type: ignore[arg-type]
        runner.run([Writes()], Everything(None))  # type: ignore[arg-type, list-item]
        assert mirror._copying is not None
        mirror._copying.result()
        assert storage[1]()["arms/full/trial.json"] == "new"
        runner.close()
