"""Files that appear whole or not at all: written beside, then renamed."""

from __future__ import annotations

import os
from pathlib import Path


def unfinished(path: Path) -> Path:
    """Where to write what becomes ``path``: beside it, under a name that no other process uses."""
    return path.with_name(f"{path.name}.{os.getpid()}.partial")
