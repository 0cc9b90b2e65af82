"""The version of a tag is that of the package, of CITATION.cff and of a dated part of CHANGELOG.md.

python .ci/release.py v0.1.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = {
    "src/keeptune/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## (\S+) \(\d{4}-\d{2}-\d{2}\)$",
}


def differing(tag: str, root: Path = ROOT) -> list[str]:
    """A line for every file that does not name the version of the tag first."""
    found = {}
    for name, pattern in PLACES.items():
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        found[name] = match[1] if match else "no version"
    return [f"{name}: {version}, and the tag is {tag}" for name, version in found.items() if f"v{version}" != tag]


if __name__ == "__main__":
    sys.exit("\n".join(differing(sys.argv[1])) or None)
