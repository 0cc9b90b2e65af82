"""The pages of speed, and the README's table, say what the kept reports of benchmarks say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import write_comparison
import write_page


def test_tables_are_written_from_the_reports() -> None:
    for path, written in (
        (write_page.PAGE, write_page.sections()),
        (write_page.README, {"speed": write_page.headline()}),
    ):
        page = path.read_text(encoding="utf-8")
        assert write_page.fill(page, path.name, written) == page, "python benchmarks/write_page.py"


def test_the_comparison_names_versions_from_the_reports() -> None:
    page = write_comparison.PAGE.read_text(encoding="utf-8")
    assert write_comparison.page() == page, "python benchmarks/write_comparison.py"
    assert all(report["versions"]["trl"] in page for report in write_page.reports("train"))
