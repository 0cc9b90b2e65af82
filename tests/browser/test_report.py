"""The report in a real browser: no label is cut, none lies on another one, no line crosses one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import studies

from keeptune.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (390, 768, 1280)  # CSS pixels: a phone, a tablet, a desk
LABELS = (Path(__file__).parent / "labels.js").read_text(encoding="utf-8")

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="module", params=list(studies.STUDIES))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(studies.write(request.param, tmp_path_factory.mktemp("run")))


def look(page: Page, report: Path) -> dict[str, Any]:
    page.goto(report.as_uri())
    found: dict[str, Any] = page.evaluate(LABELS)
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_is_cut_or_covered(report: Path, width: int, page_at: OpenPage) -> None:
    page = page_at(width)
    found = look(page, report)
    assert found["labels"] > 40
    assert found["cut"] == []
    assert found["covered"] == []
    assert found["crossed"] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width  # the page itself never scrolls sideways


def test_dark_and_light_are_laid_out_alike(report: Path, page_at: OpenPage) -> None:
    light, dark = (look(page_at(390, scheme), report) for scheme in ("light", "dark"))
    assert light["boxes"] == dark["boxes"]
    assert light["paper"] != dark["paper"]
    for found in (light, dark):
        assert found["faint"] == []
