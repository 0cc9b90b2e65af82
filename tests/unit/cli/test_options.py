"""What every command has: --quiet, --verbose, --json."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from keeptune.cli.main import app


def commands(group: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """('runs show', command); a group that does something itself is one, too."""
    group = group or typer.main.get_command(app)
    for key, each in group.commands.items():
        inner = getattr(each, "commands", None)
        if inner is None or getattr(each, "invoke_without_command", False):
            yield f"{name}{key}", each
        if inner is not None:
            yield from commands(each, f"{name}{key} ")


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_has_the_three(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--quiet", "--verbose", "--json"} <= options, name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "none.yaml"], "none.yaml: no such recipe"),
        (["study", "keyless.yaml"], "'target' is missing"),
        (["study", "fileless.yaml"], "rows.jsonl"),
        (["study", "recipe.yaml", "--set", "target.metrik=accuracy"], "unknown key 'target.metrik'"),
        (["plan", "none.yaml"], "none.yaml: no such recipe"),
        (["plan", "keyless.yaml"], "'target' is missing"),
        (["train", "--model", "builtin", "--data", "none.jsonl"], "none.jsonl"),
        (["evaluate", "--model", "builtin", "--task", "none.jsonl"], "none.jsonl"),
        (["compare", "builtin", "builtin", "--retain", "none.yaml"], "none.yaml"),
        (["export", "none"], "none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_said_before_torch_is_imported(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "keyless.yaml").write_text("model: builtin\n")
    (tmp_path / "fileless.yaml").write_text("model: builtin\ntarget: {data: rows.jsonl}\n")
    (tmp_path / "recipe.yaml").write_text("model: builtin\ntarget: {task: builtin:orders}\n")
    program = (
        "import sys\nfrom keeptune.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print('torch' in sys.modules, end.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said in done.stderr
    assert done.stdout.split()[0] == "False" and done.stdout.split()[1] in "2345"
