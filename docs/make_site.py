"""Lay out the site's pages below build/pages, from where `zensical build` makes the site that mkdocs.yml describes.

    python docs/make_site.py         # lay them out
    python docs/make_site.py check   # name the links that lead nowhere; exit code 1 where there is one

Pages of the repository name each other and other files by relative paths. On the site they keep their places (README.md
is its first page), so that the same links lead to the same pages in both.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE_PAGES = ROOT / "build" / "pages"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """Every page of the documentation."""
    top = ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")
    below = (ROOT / "docs", ROOT / "examples", ROOT / "benchmarks")
    return [
        *(ROOT / f"{name}.md" for name in top),
        *(page for folder in below for page in sorted(folder.rglob("*.md"))),
    ]


def links(page: Path) -> list[str]:
    """Targets of a page's links and pictures within the repository, with their anchors."""
    found = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Anchors as GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """A line for every link of a page that leads to no file, or to no heading of one."""
    found = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_file() or (anchor and anchor not in anchors(target)):
            found.append(f"{page.relative_to(ROOT)}: {link}")
    return found


def linked_files(page: Path) -> set[Path]:
    """The files that a page names."""
    names = (link.partition("#")[0] for link in links(page))
    return {(page.parent / name).resolve() for name in names if name}


def lay_out(into: Path) -> None:
    """Copy the pages, and every file that one of them names, to their places below a folder that is made anew."""
    shutil.rmtree(into, ignore_errors=True)
    found = pages()
    for path in {*found, *(file for page in found for file in linked_files(page))}:
        place = into / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit("\n".join(line for page in pages() for line in broken(page)) or None)
    lay_out(SITE_PAGES)
