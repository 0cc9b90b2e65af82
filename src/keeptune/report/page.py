"""What all pages share: the templates, the style, and a policy under which nothing is fetched.

A page needs no network and carries a content security policy that forbids any: its style and its script are inlined
and named by their hashes, and no element has a style attribute or an event handler.
"""

from __future__ import annotations

import base64
import functools
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from keeptune.core.tokens import visible
from keeptune.core.units import human_seconds, over_seeds
from keeptune.report import arms, formatting

FILTERS = (
    "change_interval change_text change_unit clip count headline_text interval_text level_text metric_name "
    "metric_number metric_title metric_unit name_of p_text rate_text score_text sentence_case share size_text"
).split()


def filled(template: str, **content: object) -> str:
    """The template as a page, style and script inlined. ``content`` names at least ``version``."""
    environment = _environment()
    shown, script = Markup(style()), Markup(_text(environment, "script.js"))
    return environment.get_template(template).render(content, style=shown, script=script, policy=_policy(shown, script))


def style() -> str:
    """The style sheet of all pages."""
    return _text(_environment(), "style.css")


def fragment(template: str, **content: object) -> Markup:
    """The template as a piece of another page: without style and script."""
    return Markup(_environment().get_template(template).render(content))


@functools.cache
def _environment() -> Environment:
    """The templates, compiled once per process."""
    environment = Environment(
        loader=PackageLoader("keeptune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(formatting, name) for name in FILTERS})
    environment.filters.update(
        human_seconds=human_seconds,
        mean_change=arms.mean_change,
        over_seeds=over_seeds,
        visible=visible,
        verdict_counts=arms.verdict_counts,
        worst=arms.worst,
    )
    return environment


def _text(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _policy(style: str, script: str) -> str:
    """The content security policy: nothing may be fetched, and only the page's own style and script may act."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
