"""Take the pictures of the report that README.md and docs/study.md show, from the records of finished studies.

    python docs/make_screenshots.py

Needs `pip install 'keeptune[browser]'` and a chromium. Look at the pictures before you commit them.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from keeptune.core.records import Summary, read_json
from keeptune.report.html import render

DOCS = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """A part of a report."""

    name: str
    study: str  # docs/results/STUDY.json
    width: int  # CSS pixels
    height: int
    scheme: Literal["light", "dark"]
    section: str = ""  # id of the section at the top; "" is the top of the page


PICTURES = (
    Picture("report", "demo", 1280, 1290, "light"),
    Picture("report-suites", "demo", 1280, 800, "dark", "suites"),
    Picture("report-phone", "demo", 390, 1560, "light", "retention"),
)


def main() -> None:
    """Write docs/report.png and the others."""
    executable = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for picture in PICTURES:
            summary = read_json(DOCS / "results" / f"{picture.study}.json", Summary)
            page_file = Path(folder) / f"{picture.study}.html"
            page_file.write_text(render(summary, Path(folder)), encoding="utf-8")
            viewport = {"width": picture.width, "height": picture.height}
            page = browser.new_page(viewport=viewport, color_scheme=picture.scheme)  # type: ignore[arg-type]
            page.goto(f"{page_file.as_uri()}#{picture.section}")
            page.screenshot(path=DOCS / f"{picture.name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
