"""The recipe's modules, which are scripts beside each other and no package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[3] / "recipes" / "builtin"
MODULES = ("corpus", "words", "skills", "target", "rows", "make_tasks", "make_corpus", "tokenizer", "train")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the recipe, importable for one test."""
    monkeypatch.syspath_prepend(str(RECIPE))
    yield RECIPE  # type: ignore[misc]
    for name in MODULES:
        sys.modules.pop(name, None)
