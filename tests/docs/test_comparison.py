"""The pages of speed, and the README's table, say what the kept reports of benchmarks say."""

from __future__ import annotations

import runpy
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_tables_are_written_from_the_reports() -> None:
    write_page = runpy.run_path(str(BENCHMARKS / "write_page.py"))
    parts = {"PAGE": write_page["sections"](), "TOOLS": {"tools": write_page["tools"]()}}
    for name, written in (parts | {"README": {"speed": write_page["headline"]()}}).items():
        page = write_page[name].read_text(encoding="utf-8")
        assert write_page["fill"](page, name, written) == page, "python benchmarks/write_page.py"
