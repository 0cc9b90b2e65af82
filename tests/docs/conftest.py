"""Makes the scripts of docs/ and the summaries of the report's tests importable."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "tests" / "unit" / "report")]
