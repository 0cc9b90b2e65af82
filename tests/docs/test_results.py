"""The results page and the README's table say what the stored records say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def make_results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_results", DOCS / "make_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_written_from_the_records(make_results: ModuleType) -> None:
    assert (DOCS / "results.md").read_text(encoding="utf-8") == make_results.page()


def test_the_readme_s_table_is_written_from_the_records(make_results: ModuleType) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert readme == make_results.with_table(readme)


def test_no_text_of_a_data_set_is_stored(make_results: ModuleType) -> None:
    for name, summary in make_results.results().items():
        assert not summary.samples, name
        assert not any(card.example_prompt or card.example_completion for card in summary.cards), name
