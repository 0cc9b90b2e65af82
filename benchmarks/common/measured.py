"""Which code a report is about, and whether that is the code that there is."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src" / "keeptune"
ENGINE = ("batching", "models")

# What a benchmark's figures come from: rooms and files of `SOURCE`.
CODE: dict[str, tuple[str, ...]] = {
    "study": (*ENGINE, "evaluate", "inference", "methods", "study", "train"),
    "train": (*ENGINE, "methods", "train"),
    "score": (*ENGINE, "evaluate/requests.py", "inference"),
    "generate": (*ENGINE, "inference"),
    "planning": ("batching",),
    "operators": (*ENGINE, "methods", "train"),
    "curve": (*ENGINE, "methods", "train"),
    "encode": ("data/encode", "data/storage"),
    "large": ("data", "inspect"),
    "leaks": ("data/splits",),
    "startup": ("cli", "methods", "models", "recipe", "study"),
    "checkpoints": ("train",),
    "plan": (*ENGINE, "methods", "planning", "train"),
    "scaling": ("planning",),
    "ceiling": (),  # of the machine alone
}


def code_hash(what: str, source: Path = SOURCE) -> str:
    """Of the files that a benchmark measures, names and contents; the same on every machine."""
    found = hashlib.sha256()
    for part in CODE[what]:
        place = source / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            found.update(path.relative_to(source).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def is_current(report: dict[str, Any]) -> bool:
    """Whether a report's code is what there is now; of reports that do not say what it was nothing is known."""
    return not CODE[report["benchmark"]] or report.get("code") == code_hash(report["benchmark"])
