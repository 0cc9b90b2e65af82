"""The site has every page, builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import make_site

ROOT = Path(__file__).parents[2]


def leaves(found: Any) -> Iterator[str]:
    """Every page that a navigation names."""
    if isinstance(found, str):
        yield found
    else:
        for each in found.values() if isinstance(found, dict) else found:
            yield from leaves(each)


def test_the_navigation_names_every_page_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = list(leaves(settings["nav"]))
    assert sorted(named) == sorted(str(page.relative_to(ROOT)) for page in make_site.pages()), "see nav in mkdocs.yml"


def test_links_that_lead_nowhere_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_site, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n\n[a](#one-two) [b](page.md#three) [c](gone.md) [d](https://x.org/gone)\n")
    assert make_site.broken(page) == ["page.md: page.md#three", "page.md: gone.md"]


class Links(HTMLParser):
    """Targets of a page's links, and its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id") or "")
        self.links += [link for name in ("href", "src") if (link := found.get(name))]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    make_site.lay_out(tmp_path / "build" / "pages")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "build" / "site"
    parsed = {path: Links() for path in site.rglob("*.html")}
    for path, links in parsed.items():
        links.feed(path.read_text(encoding="utf-8"))
    for path, links in parsed.items():
        if path.name == "404.html":
            continue
        for link in links.links:
            parts = urlsplit(link)
            assert parts.scheme != "http", link
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in parsed:
                assert unquote(parts.fragment) in parsed[target].ids, f"{path.relative_to(site)}: {link}"
    loaded = {
        link for links in parsed.values() for link in links.links if re.match(r"https?://.*\.(js|css|woff2?)", link)
    }
    assert not loaded, "nothing is loaded from elsewhere"
