"""What tasks.py and halving.py have in common: options, studies of changed recipes, tables in pages, exits."""

from __future__ import annotations

import argparse
import os
import runpy
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from keeptune.api.study import load_recipe
from keeptune.core.errors import KeeptuneError
from keeptune.core.records import Manifest, Summary

HERE = Path(__file__).parent


def options(doc: str | None, out: str, names: Sequence[str], arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; the data of the shop's tasks are drawn, too."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--only", nargs="+", choices=names)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args(arguments)
    runpy.run_path(str(HERE.parent / "laws" / "shop.py"), run_name="__main__")
    return chosen


def study(recipe: str, changes: Sequence[str], folder: Path, data: Path | None, console: Console) -> Summary:
    """One study of a recipe of this folder; what was finished is not run again."""
    console.rule(folder.name)
    words = [word for change in changes for word in ("--set", change)]
    command = shlex.join(["keeptune", "study", f"recipes/search/{recipe}", *words])
    whole = load_recipe(HERE / recipe, changes, data_root=data or Path())
    return whole.run(folder, console=console, command=command).summary


def machine(manifest: Manifest) -> str:
    """Where a study ran."""
    return f"{os.cpu_count()} CPU cores, {manifest.precision}, {manifest.platform}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], said: Iterable[str]) -> str:
    """A table and the sentences below it."""
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join([*lines, "", *said])


def fill(page: Path, begin: str, end: str, body: str) -> None:
    """Write a fresh body between the markers of a page."""
    head, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{head}{begin}\n\n{body}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


def leave(main: Callable[[], int]) -> NoReturn:
    """Run a script and exit; an error that was foreseen is one line."""
    try:
        sys.exit(main())
    except KeeptuneError as error:
        print(f"{shlex.quote(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
