"""The cases that several processes work through stand in a file of their own, which those run and tests import."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
