"""The tables that recipes write into pages say what their records say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from keeptune.core.records import read_json

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(params=["search/tasks.py", "search/halving.py"])
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A recipe's script as a module."""
    path = RECIPES / request.param
    monkeypatch.syspath_prepend(path.parent)  # its neighbours
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_record(script: ModuleType) -> None:
    page = script.PAGE.read_text(encoding="utf-8")
    body = page.split(script.BEGIN)[1].split(script.END)[0].strip()
    record = script.RECORD
    assert body == (script.table(read_json(record, script.Results)).strip() if record.is_file() else script.NOT_RUN)
