from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import pytest

from keeptune.cli import doctor
from keeptune.core.errors import ResourceError


def versions(monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None]) -> None:
    """Pretend that some packages have other versions, or none."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        found = changed.get(name, "real")
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name) if found == "real" else found

    requirements = ["numpy>=2.0", "torch>=2.11", 'datasets>=4.4; extra == "hub"', 'keeptune[hub]; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(importlib.metadata, "version", version)


def test_required_packages_come_first_then_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"torch": "2.13.0+cpu", "datasets": None})
    found = [(p.name, p.extra, p.state) for p in doctor.find_packages()]
    assert found == [("numpy", None, "ok"), ("torch", None, "ok"), ("datasets", "hub", "missing")]


def test_a_missing_extra_is_a_hint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    versions(monkeypatch, {"torch": "2.13.0", "datasets": None})
    doctor.doctor()
    assert "pip install 'keeptune[hub]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("torch", "message"), [(None, r"torch>=2\.11 \(missing\)"), ("2.4.0", r"torch>=2\.11 \(2\.4\.0\)")]
)
def test_a_missing_or_old_requirement_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], torch: str | None, message: str
) -> None:
    versions(monkeypatch, {"torch": torch})
    with pytest.raises(ResourceError, match=message) as error:
        doctor.doctor()
    assert error.value.exit_code == 5
    assert "torch" in capsys.readouterr().out


def test_without_torch_the_device_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name == "torch" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert doctor.machine()["device"] == "unknown, torch is not installed"


def test_running_from_a_folder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    with pytest.raises(ResourceError, match="not installed as a package"):
        list(doctor.find_packages())


def test_hub_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.machine()["hub cache"] == f"{tmp_path}, offline mode"
