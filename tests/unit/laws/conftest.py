"""The modules of recipes/laws, which are scripts beside each other and no package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

LAWS = Path(__file__).parents[3] / "recipes" / "laws"
MODULES = ("outcomes", "frontiers", "keeping", "learning", "shop", "page", "laws")


@pytest.fixture(scope="package")
def modules() -> Iterator[dict[str, ModuleType]]:
    """Name -> module; importable under these names only while they are imported."""
    sys.path.insert(0, str(LAWS))
    try:
        yield {name: import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(LAWS))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="package")
def keeping(modules: dict[str, ModuleType]) -> ModuleType:
    """Laws about what is kept."""
    return modules["keeping"]


@pytest.fixture(scope="package")
def learning(modules: dict[str, ModuleType]) -> ModuleType:
    """Laws about what is learned."""
    return modules["learning"]
