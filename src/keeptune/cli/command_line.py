"""The command as the user typed it: reports and manifests quote it."""

from __future__ import annotations

import shlex
import sys


def command_line() -> str:
    """'keeptune study recipe.yaml --out runs/mine'."""
    return shlex.join(["keeptune", *sys.argv[1:]])
