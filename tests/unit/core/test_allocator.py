from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keeptune.cli import doctor
from keeptune.core import allocator

GLIBC = allocator._is_glibc()

FAULTS = """
import ctypes, resource, sys
if sys.argv[1] == "kept":
    from keeptune.core.allocator import keep_memory, state
    keep_memory()
import keeptune
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def touch():
    block = libc.malloc(64 * 2**20)
    ctypes.memset(block, 1, 64 * 2**20)
    libc.free(ctypes.c_void_p(block))
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *filter(lambda name: name.startswith(("GLIBC_", "MALLOC_", "LD_PRELOAD")), os.environ),
        allocator.NOTE,
    ):
        monkeypatch.delenv(name, raising=False)


def faults(mode: str, **environment: str) -> int:
    """Page faults of five times 64 MB after the first time, in a fresh process."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("GLIBC_", "MALLOC_", "LD_PRELOAD"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], env=plain | environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_freed_memory_is_kept_by_the_program_and_not_by_the_library() -> None:
    assert faults("kept") < 200
    assert faults("imported") > 5 * 200
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="131072") > 5 * 200  # the user's setting stands


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, "GLIBC_TUNABLES"),
        ({"MALLOC_ARENA_MAX": "2"}, "MALLOC_ARENA_MAX"),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, "LD_PRELOAD"),
    ],
)
def test_the_users_choice_stands(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], variable: str) -> None:
    monkeypatch.setattr(allocator, "_set", lambda: pytest.fail("changed what the user had set"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    allocator.keep_memory()
    assert not allocator.kept()
    assert doctor.machine()["allocator"] == f"as {variable} says"


def test_other_tunables_are_no_choice_of_an_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_is_glibc", lambda: True)
    monkeypatch.setattr(allocator, "_set", lambda: True)
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.x86_ibt=off")
    allocator.keep_memory()
    assert "kept" in allocator.state()


def test_a_process_does_not_inherit_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_is_glibc", lambda: True)
    monkeypatch.setattr(allocator, "_set", lambda: True)
    allocator.keep_memory()
    assert allocator.kept()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert not allocator.kept()


@pytest.mark.parametrize("error", [AttributeError, ValueError, OSError])
def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def confstr(name: str) -> str:
        raise error(name)

    monkeypatch.setattr(os, "confstr", confstr)
    allocator.keep_memory()
    assert allocator.state() == "the system's own"


def test_a_setting_that_is_refused_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_is_glibc", lambda: True)
    monkeypatch.setattr(allocator, "_set", lambda: False)
    allocator.keep_memory()
    assert allocator.state() == "the system's own"


def test_the_program_needs_no_torch_for_it() -> None:
    code = "import sys; sys.argv = ['keeptune', '--version']\nfrom keeptune.cli import main\n"
    code += "try: main.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
