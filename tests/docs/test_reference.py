"""The references of commands and of the public names are what the code says."""

from __future__ import annotations

import re

import typer

import keeptune
import make_reference
from keeptune.cli.main import app


def test_both_pages_are_written_from_the_code() -> None:
    for path, text in make_reference.pages().items():
        assert path.read_text(encoding="utf-8") == text, make_reference.COMMAND


def test_every_public_name_is_explained() -> None:
    named = [name for names in make_reference.GROUPS.values() for name in names]
    assert sorted(named) == sorted(set(keeptune.__all__) - {"__version__"})


def test_every_command_and_option_is_listed() -> None:
    page = make_reference.commands_page()
    root = typer.main.get_command(app)
    found = dict(make_reference.leaves(root, "keeptune"))
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [name.partition(" ")[2] for name in found]
    for name, command in found.items():
        part = page.split(f"\n## {name.partition(' ')[2]}\n")[1].split("\n## ")[0]
        assert all(f"`{option}`" in part for each in command.params for option in each.opts), name


def test_a_docstring_becomes_markdown() -> None:
    def asked(rows: int = 2) -> str:
        """Says ``so`` of <name>.

        Args:
            rows: how many,
                at most.

        Raises:
            ValueError: none.

        Example:
            >>> asked()
        """
        return "" * rows

    assert make_reference.signature("asked", asked) == "```py\nasked(rows: int = 2) -> str\n```"
    assert list(make_reference.documented(asked)) == [
        "Says `so` of &lt;name>.",
        "Args:\n\n- `rows`: how many, at most.",
        "Raises:\n\n- `ValueError`: none.",
        "```pycon\n>>> asked()\n```",
    ]
