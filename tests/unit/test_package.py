"""The package itself: lazy names, version, and which commands start without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import keeptune

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", [name for name in keeptune.__all__ if name != "__version__"])
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(keeptune, name).__name__.removeprefix("keeptune.") == name


@pytest.mark.parametrize("name", ["compare", "evaluate", "train"])
def test_a_folder_of_the_package_can_be_called_whoever_imported_it(name: str) -> None:
    code = f"import keeptune.{name} as room; import keeptune; assert keeptune.{name} is room and callable(room)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(TypeError, match="required positional argument"):
        getattr(keeptune, name)()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'studdy'"):
        _ = keeptune.studdy


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## {re.escape(keeptune.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [["--help"], ["data", "check", "--help"], ["report", "--help"], ["--version"]])
def test_nothing_heavy_at_the_start(command: list[str]) -> None:
    heavy = {"torch", "transformers", "peft", "scipy", "datasets", "pyarrow", "numpy", "jinja2"}
    if len(command) == 1:  # typer itself imports it to read a command's parameters
        heavy.add("pydantic")
    code = (
        "import sys\n"
        "from keeptune.cli.main import app\n"
        f"app({command!r}, standalone_mode=False)\n"
        f"heavy = {heavy!r} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_keeptune_is_cheap() -> None:
    code = "import sys, keeptune; assert not {'torch', 'numpy', 'pydantic'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recipe_is_read_without_peft() -> None:
    code = "import sys, keeptune.study.run; assert not {'peft', 'bitsandbytes'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
