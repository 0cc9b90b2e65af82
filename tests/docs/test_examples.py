"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
ROOMS = ("compare", "core", "evaluate", "inspect", "recommend", "report", "retention")
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    for room in ROOMS
    for path in (SOURCE / "keeptune" / room).rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0


def test_what_people_start_from_has_an_example() -> None:
    starts = ("compare.models", "evaluate.metrics.base", "evaluate.runner", "evaluate.shots", "recommend.choose")
    expected = {*starts, "retention.arm", "retention.verdict"}
    assert {f"keeptune.{name}" for name in expected} <= set(MODULES)
