"""A real browser: Debian's chromium (or any that `which` finds), driven by playwright. Skipped where there is none."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "unit" / "report"):  # studies.py; its summaries
    sys.path.insert(0, str(folder))

NAMES = ("chromium", "chromium-browser", "google-chrome")
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless browser for all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'keeptune[browser]'")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no browser: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page_at(browser: Browser) -> Iterator[Callable[[int, Scheme], Page]]:
    """Opens an empty page of a width in pixels and a colour scheme; an error that its script throws fails the test."""
    opened, errors = [], []

    def open_page(width: int, scheme: Scheme = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_page
    for context in opened:
        context.close()
    assert errors == []
