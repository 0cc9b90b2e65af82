"""The page of `data preview`: rows token by token."""

from __future__ import annotations

from pathlib import Path

from keeptune import __version__
from keeptune.core.files import write_whole
from keeptune.core.tokens import TokenPage
from keeptune.report.page import filled

OUTCOMES = {
    "drop": "they are left out of training.",
    "truncate_prompt": "their prompts lose tokens at the left end; a completion is never cut.",
    "error": "training stops at the first of them.",
}
ASKED = {  # the same of items that evaluation asks
    "drop": "one that is too long without any is not asked.",
    "truncate_prompt": "one that is too long without any loses tokens at its left end.",
    "error": "evaluation stops at the first that is too long without any.",
}


def write_preview(page: TokenPage, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, render_preview(page))


def render_preview(page: TokenPage) -> str:
    """The page as text."""
    outcome = (ASKED if page.shots else OUTCOMES).get(page.policy, "")
    return filled("preview.html.j2", page=page, version=__version__, looks=_looks(page), outcome=outcome)


def _looks(page: TokenPage) -> set[str]:
    """The kinds of token on the page, which are those that the legend has to explain."""
    tokens = [token for row in (*page.rows, *page.long) for view in row.views for token in view.tokens]
    looks = {word for token in tokens for word in token.look.split()}
    return looks | ({"part"} if any(not token.text for token in tokens) else set())
